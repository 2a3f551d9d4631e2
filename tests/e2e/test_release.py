"""
A release of the chart while its queue is alive: upgraded, its operator killed, its workers rolled out, its pods lost.

Workers are under load in each test, and the history of what they did is judged by the checker of the crash tests.
"""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from sharded_queue import RedisStorage
from sharded_queue.state import Hold
from sharded_queue_operator.resource.rendering import RENDERED
from tests.chart.helm import CHART
from tests.chart.release import CRD, NAME, OPERATOR, OURS, REDIS, Release
from tests.crash.history import Done, faults, replays
from tests.crash.worker_processes import BATCH, THREADS, Producer, StepHandler
from tests.e2e import earlier_release, recording_handler
from tests.e2e.conftest import kill_processes_of, lose, pod_of
from tests.e2e.steps import LEASE_SECONDS, PODS, steps
from tools.cluster.cluster import Cluster
from tools.cluster.namespace import fresh_namespace
from tools.operator_process import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

NEXT_OPERATOR = """
from sharded_queue_operator import __main__
from sharded_queue_operator.resource import deployment
deployment.GRACE_SECONDS += 1
__main__.main()
"""
"""It makes another pod template of the same spec."""

ROLLOUT, REVISION = "shardedqueue.dev/rollout", "deployment.kubernetes.io/revision"


class Steps:
    """The release's queue: its pods, the requests that come in, and the history of what was done."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.host: str = release.get("service", REDIS)["spec"]["clusterIP"]
        self.redis = Redis(self.host)

    def deployment(self) -> Any:
        return self.release.get("deployment", "steps-worker")

    def annotation(self, name: str) -> str | None:
        """Of the Deployment."""
        annotations: dict[str, str] = self.deployment()["metadata"].get("annotations", {})
        return annotations.get(name)

    def pods(self) -> dict[str, Any]:
        items = self.release.get("pods", "--selector=shardedqueue.dev/queue=steps")["items"]
        return {pod["metadata"]["name"]: pod for pod in items if "deletionTimestamp" not in pod["metadata"]}

    def holds(self) -> dict[str, Hold]:
        async def asked() -> dict[str, Hold]:
            async with AsyncRedis(host=self.host) as redis:
                (state,) = await RedisStorage(redis).observe(StepHandler.all_shards())
            return {hold.thread: hold for hold in state.held}

        return asyncio.run(asked())

    @contextmanager
    def under_load(self) -> Iterator["Load"]:
        """All pods at work while the block runs; then everything is drained."""
        self.redis.delete(recording_handler.HISTORY)
        load = Load(self.host)
        try:
            until(lambda: self.redis.llen(recording_handler.HISTORY) > 50, "work has begun", 60)
            ready = f"--for=jsonpath={{.status.readyReplicas}}={PODS}"
            self.release.kubectl("wait", "deployment/steps-worker", ready, "--timeout=60s")
            yield load
        except BaseException:
            load.producer.is_done = True
            raise
        load.end()
        load.history = [Done.of(line.decode()) for line in self.redis.lrange(recording_handler.HISTORY, 0, -1)]

    @contextmanager
    def replicas_wanted(self) -> Iterator[list[int]]:
        """Every number of workers that the Deployment asked for while the block ran."""
        seen: list[int] = []
        path = 'jsonpath={.spec.replicas}{"\\n"}'
        words = [
            "get",
            "deployment",
            "steps-worker",
            "--namespace",
            self.release.namespace,
            "--watch",
            "--output",
            path,
        ]
        env = self.release.cluster.env
        with subprocess.Popen(["kubectl", *words], env=env, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout
            seen.append(int(watching.stdout.readline()))
            try:
                yield seen
            finally:
                watching.terminate()
            seen += map(int, watching.stdout.read().split())


class Load:
    """A producer in an OS thread of its own."""

    def __init__(self, host: str) -> None:
        self.history: list[Done] = []
        self.producer = Producer(host)
        self.thread = ThreadPoolExecutor(1)
        self.feeding = self.thread.submit(lambda: asyncio.run(self.feed()))

    async def feed(self) -> None:
        async with self.producer.redis, asyncio.timeout(120):
            await self.producer.feed()
            await self.producer.drained()

    def end(self) -> None:
        self.producer.is_done = True
        self.thread.shutdown()
        self.feeding.result()

    def judged(self) -> list[str]:
        """What went wrong."""
        print(f"{len(self.history)} requests done, {replays(self.history)} of them again")
        return faults(self.producer.registered, self.history, BATCH)


def next_chart(folder: Path) -> Path:
    """The chart as a later version, with an operator that makes other pods. There is none yet, so it is made up."""
    chart = Path(shutil.copytree(CHART, folder / "next"))
    operator = chart / "templates" / "operator" / "deployment.yaml"
    command = f"command: {json.dumps(['python', '-c', NEXT_OPERATOR])}"
    operator.write_text(
        operator.read_text().replace("      - name: operator\n", f"      - name: operator\n        {command}\n")
    )
    return chart


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    with fresh_namespace(cluster, "release") as name:
        yield name


@pytest.fixture(scope="module")
def release(
    cluster: Cluster, namespace: str, images: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Release]:
    """As an earlier release left it, so that the first test can upgrade it."""
    if cluster.node is None:
        pytest.skip("this machine cannot reach the Services and pods of a cluster elsewhere")
    release = Release(cluster, namespace)
    try:
        earlier = earlier_release.chart(tmp_path_factory.mktemp("chart") / "earlier", namespace)
        release.install(*earlier_release.settings(), chart=earlier)
        yield release
    finally:
        release.kubectl("delete", "shq", "--all", "--ignore-not-found", "--timeout=60s")
        release.uninstall()


@pytest.fixture(scope="module")
def queued(release: Release) -> Steps:
    source = {"steps.py": Path(recording_handler.__file__).read_text()}
    release.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "handlers"}, "data": source})
    release.apply(steps("first"))
    earlier_release.write_as_its_operator(release)
    return Steps(release)


def operator_pod(release: Release) -> Any:
    (pod,) = release.get("pods", f"--selector=app.kubernetes.io/component=operator,{OURS}")["items"]
    return pod


def definition(release: Release) -> tuple[set[str], set[str]]:
    """The columns of the kind, and the fields of its status."""
    (version,) = release.get(CRD)["spec"]["versions"]
    columns = {column["name"] for column in version["additionalPrinterColumns"]}
    return columns, set(version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"])


def test_an_upgrade_adopts_the_workers_of_an_earlier_release_and_rolls_nothing(queued: Steps) -> None:
    """Its definition, its values, its Deployment and its status are there; no operator is, until the new one comes."""
    release = queued.release
    columns, status = definition(release)
    assert queued.annotation(RENDERED) is None

    with queued.under_load() as load, queued.replicas_wanted() as replicas:
        workers, revision = set(queued.pods()), queued.annotation(REVISION)
        release.helm("upgrade", NAME, str(CHART), "--reuse-values", "--wait", "--timeout=120s")
        until(lambda: queued.annotation(RENDERED), "the Deployment is adopted", 60)
        done = queued.redis.llen(recording_handler.HISTORY)
        until(lambda: queued.redis.llen(recording_handler.HISTORY) > done + 100, "work goes on")
        release.kubectl("wait", "shq/steps", "--for=condition=Ready", "--timeout=60s")
        assert set(queued.pods()) == workers
        assert queued.annotation(REVISION) == revision == "1"

    new_columns, new_status = definition(release)
    assert (new_columns - columns, new_status - status) == ({"Running"}, {"pin"})
    assert set(replicas) == {PODS}
    assert load.judged() == []
    assert replays(load.history) == 0


def test_the_pods_of_the_next_operator_come_in_their_turn_and_under_load(queued: Steps, tmp_path: Path) -> None:
    release = queued.release
    release.kubectl("annotate", "shq", "steps", f"{ROLLOUT}=hold")
    with queued.under_load() as load:
        before = set(queued.pods())
        release.helm("upgrade", NAME, str(next_chart(tmp_path)), "--reuse-values", "--wait", "--timeout=120s")
        release.kubectl("wait", "shq/steps", "--for=condition=Outdated", "--timeout=60s")
        assert set(queued.pods()) == before

        release.kubectl("annotate", "shq", "steps", f"{ROLLOUT}-")
        release.kubectl("wait", "shq/steps", "--for=condition=Outdated=False", "--timeout=60s")
        release.kubectl("rollout", "status", "deployment/steps-worker", "--timeout=90s")
        assert not before & set(queued.pods())

    assert json.loads(queued.annotation(RENDERED) or "{}")["in_turn"]
    assert load.judged() == []
    assert replays(load.history) == 0


def test_a_killed_operator_takes_no_worker_away_and_its_successor_goes_on(queued: Steps) -> None:
    release = queued.release
    with queued.under_load() as load, queued.replicas_wanted() as replicas:
        killed = operator_pod(release)
        kill_processes_of(killed, b"sharded_queue_operator")
        release.kubectl("delete", "pod", killed["metadata"]["name"], "--force", "--grace-period=0")
        release.kubectl("rollout", "status", f"deployment/{OPERATOR}", "--timeout=60s")

    assert set(replicas) == {PODS}
    assert load.judged() == []
    assert replays(load.history) == 0
    release.kubectl("wait", "deployment/steps-worker", "--for=jsonpath={.spec.replicas}=0", "--timeout=60s")


def test_a_rollout_under_load_loses_repeats_and_reorders_nothing(queued: Steps) -> None:
    with queued.under_load() as load:
        before = set(queued.pods())
        generation = queued.deployment()["metadata"]["generation"]
        queued.release.apply(steps("second"))
        until(lambda: queued.deployment()["metadata"]["generation"] > generation, "the operator changed the template")
        queued.release.kubectl("rollout", "status", "deployment/steps-worker", "--timeout=90s")
        assert not before & set(queued.pods())

    assert load.judged() == []
    assert replays(load.history) == 0


def test_threads_of_pods_that_ended_go_on_at_once_and_in_order(queued: Steps) -> None:
    """All worker pods die in one moment, and their kubelet sees it."""
    release = queued.release
    with queued.under_load() as load:
        ready = f"--for=jsonpath={{.status.readyReplicas}}={PODS}"  # a kubelet that is still at the start sees no end
        release.kubectl("wait", "deployment/steps-worker", ready, "--timeout=60s")
        held = until(lambda: holds if len(holds := queued.holds()) == len(THREADS) else None, "all threads are held")
        lost_at, pods = time.monotonic(), queued.pods()
        lose(release.kubectl, list(pods.values()))
        until(lambda: have_gone_on(held, queued.holds()), "all threads go on elsewhere", 40)
        waited = time.monotonic() - lost_at

    print(f"all threads went on {waited:.1f} s after their pods ended; the lease is {LEASE_SECONDS} s")
    assert waited < LEASE_SECONDS / 3
    assert load.judged() == []
    told = " ".join(event["message"] for event in events(release, "LeasesFreed"))
    assert all(pod in told for pod in {pod_of(hold.owner) for hold in held.values()})


def have_gone_on(before: dict[str, Hold], now: dict[str, Hold]) -> bool:
    return all(thread in now and now[thread].fence > hold.fence for thread, hold in before.items())


def events(release: Release, reason: str) -> list[dict[str, Any]]:
    found = json.loads(release.kubectl("get", "events", f"--field-selector=reason={reason}", "--output=json"))
    items: list[dict[str, Any]] = found["items"]
    return items
