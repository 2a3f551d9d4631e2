"""The whole chain: a producer, a Redis that pods can reach, the operator, and worker pods of the project's images."""

import asyncio
import json
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from sharded_queue import Queue, RedisStorage
from sharded_queue.state import Hold, ShardState
from tests.chart.conftest import release
from tests.operator_api.conftest import crd, start_operator
from tools.cluster.cluster import Cluster
from tools.cluster.paths import NODE_ADDRESS
from tools.operator_process import Operator, until
from tools.redis_server import RedisServer

__all__ = ["crd", "release", "start_operator"]

MOUNTED = ("gate.py", "held_notifications.py", "orders.py")
"""Modules of this folder that worker pods import."""

EXAMPLE = Path(__file__).parents[2] / "examples" / "notifications"
sys.path.append(str(EXAMPLE))  # the example's handlers, under the name that its workers know them by


class Chain:
    """One namespace with the example's ShardedQueue, and what its handlers wrote into their journal."""

    def __init__(self, cluster: Cluster, namespace: str, redis: RedisServer) -> None:
        self.cluster, self.namespace, self.redis = cluster, namespace, redis
        self.registered: dict[str, list[int]] = defaultdict(list)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, stdin=stdin, timeout=timeout)

    def apply(self, *, seconds_per_request: float, scaling: dict[str, Any], env: dict[str, str]) -> None:
        """The example's own resource, on a Redis of the test's and with numbers that a test can wait for."""
        queue = yaml.safe_load((EXAMPLE / "shardedqueue.yaml").read_text())
        spec = queue["spec"]
        spec["redis"]["addresses"] = [f"{NODE_ADDRESS}:{self.redis.port}"]
        spec["handlers"][0]["microsecondsPerRequest"] = round(seconds_per_request * 1e6)
        spec["scaling"] = scaling
        spec["worker"] = held_worker(**env)
        self.mount()
        self.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump(queue))

    def mount(self) -> None:
        """The ConfigMap that the workers of `worker_of` mount."""
        files = [f"--from-file={Path(__file__).with_name(name)}" for name in MOUNTED]
        self.kubectl("create", "configmap", "handlers", *files)

    def open(self, *gates: str) -> None:
        """Let those go on who wait at these gates, and all who come later."""
        for gate in gates:
            self.ask(lambda redis, gate=gate: redis.xadd(f"gate:{gate}", {"is": "open"}))

    def open_threads(self, *threads: str | int) -> None:
        """Let held notifications of these threads be sent."""
        self.open(*(f"notifications:{thread}" for thread in threads))

    def register(self, requests: Sequence[Any]) -> None:
        """All at once, in one atomic step, as a batch job would."""
        from notifications import THREADS, NotifyHandler

        for request in requests:
            self.registered[str(request.user_id % THREADS)].append(request.number)
        self.ask(lambda redis: Queue(RedisStorage(redis)).register(NotifyHandler, *requests))

    def ask(self, question: Callable[[Redis], Any]) -> Any:
        async def asked() -> Any:
            async with Redis(host="127.0.0.1", port=self.redis.port) as redis:
                return await question(redis)

        return asyncio.run(asked())

    def handled(self) -> dict[str, list[int]]:
        """The journal: the numbers of handled requests by thread, in the order in which they were handled."""
        entries = self.ask(lambda redis: redis.lrange("journal:handled", 0, -1))
        handled: dict[str, list[int]] = defaultdict(list)
        for entry in entries:
            thread, number = entry.decode().split("/0 ")
            handled[thread].append(int(number))
        return handled

    def state(self) -> ShardState:
        from notifications import NotifyHandler

        (state,) = self.ask(lambda redis: RedisStorage(redis).observe(NotifyHandler.all_shards()))
        return state

    def holds(self) -> dict[str, Hold]:
        return {hold.thread: hold for hold in self.state().held}

    def wait_until_drained(self, seconds: float) -> None:
        until(lambda: self.state().depth == 0, "all requests are handled", seconds)

    def deployment(self, condition: Callable[[dict[str, Any]], Any], seconds: float = 30) -> dict[str, Any]:
        return self.cluster.wait_until(
            "deployment", "notifications-worker", condition, namespace=self.namespace, seconds=seconds
        )

    def queue(self, condition: Callable[[dict[str, Any]], Any], seconds: float = 30) -> dict[str, Any]:
        return self.cluster.wait_until("shq", "notifications", condition, namespace=self.namespace, seconds=seconds)

    def pods(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", "pods", "--output", "json"))["items"]
        return items

    def events(self, reason: str) -> list[str]:
        listed = self.kubectl("get", "events", f"--field-selector=reason={reason}", "--output", "json")
        return [event["message"] for event in json.loads(listed)["items"]]

    def remains(self) -> list[str]:
        """What is left of the resource in its namespace."""
        return self.kubectl("get", "shq,deployments,replicasets,pods", "--output", "name").split()


def held_worker(**env: object) -> dict[str, Any]:
    """The worker of the example, whose requests with a negative number are held until the test opens their gate."""
    worker = worker_of("held_notifications", **env)
    return worker | {"modules": ["notifications", "held_notifications"]}


def worker_of(module: str, **values: object) -> dict[str, Any]:
    """The worker of a ShardedQueue whose handlers are a module of the ConfigMap `handlers`; *values*: its variables."""
    env = {"PYTHONPATH": "/handlers", **values}
    container = {
        "name": "worker",
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": name, "value": str(value)} for name, value in env.items()],
        "volumeMounts": [{"name": "handlers", "mountPath": "/handlers"}],
    }
    pod = {"containers": [container], "volumes": [{"name": "handlers", "configMap": {"name": "handlers"}}]}
    return {"image": "localhost/notifications:dev", "modules": [module], "template": {"spec": pod}}


def condition(resource: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [each for each in resource["status"]["conditions"] if each["type"] == kind]
    return found


def pod_of(owner: str) -> str:
    """The pod of a worker, which is called `namespace.pod/incarnation`."""
    return owner.partition("/")[0].partition(".")[2]


def lose(kubectl: Callable[..., str], pods: Sequence[dict[str, Any]]) -> None:
    """
    Pods end without a word to anybody, as where a node needs their memory: their kubelet sees their processes die, and
    starts them no more. They are held first, so that none of them hears that it is to stop.
    """
    for pod in pods:
        signal_processes_of(pod, signal.SIGSTOP)
    kubectl("delete", "pod", *(pod["metadata"]["name"] for pod in pods), "--wait=false")
    for pod in pods:
        kill_processes_of(pod)


def kill_processes_of(pod: dict[str, Any], program: bytes = b"sharded-queue") -> None:
    """With -9, from outside, as a node that runs out of memory would."""
    signal_processes_of(pod, signal.SIGKILL, program)


def signal_processes_of(pod: dict[str, Any], number: signal.Signals, program: bytes = b"sharded-queue") -> None:
    uid = pod["metadata"]["uid"]
    told = 0
    for group in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if uid in group.read_text() and program in (group.parent / "cmdline").read_bytes():
                os.kill(int(group.parent.name), number)
                told += 1
        except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
            continue
    assert told, f"no process of pod {pod['metadata']['name']} on this machine"


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> list[str]:
    return cluster.load_images()


@pytest.fixture
def chain(cluster: Cluster, namespace: str, images: list[str], tmp_path: Path) -> Iterator[Chain]:
    if cluster.node is None:
        pytest.skip("pods of a cluster elsewhere cannot reach a Redis that the test stops and starts on this machine")
    options = {"bind": f"127.0.0.1 {NODE_ADDRESS}", "protected-mode": "no", "appendonly": "yes"}
    redis = RedisServer(tmp_path / "redis", **options).start()
    yield Chain(cluster, namespace, redis)
    redis.kill()


@pytest.fixture
def operator(start_operator: Callable[..., Operator]) -> Operator:
    return start_operator()
