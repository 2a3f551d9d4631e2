"""The chart on a real cluster: installed, asked, upgraded, used, and taken away again."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from sharded_queue import Handler, Queue, RedisCoordinator, RedisStorage
from sharded_queue.coordinator import BindRequest
from tests.chart.release import CRD, NAME, OPERATOR, REDIS, Release, Right, queue, workload
from tools.operator_process import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

WORKER = {"image": "localhost/notifications:dev", "modules": ["notifications"]}
LABEL = "app.kubernetes.io/version"


def ready(release: Release) -> int:
    deployment: dict[str, Any] = release.get("deployment", OPERATOR)
    return int(deployment["status"]["readyReplicas"])


def test_a_release_is_installed_tested_upgraded_used_and_removed(release: Release) -> None:
    """Afterwards nothing is left but the definition of ShardedQueue."""
    before = release.names()
    release.install()
    assert ready(release) == 1
    release.helm("test", NAME, "--timeout=60s")

    release.kubectl("label", CRD, f"{LABEL}=0.0.0", "--overwrite")
    release.install("--set=replicas=2", "--set=redis.enabled=true", "--set=settings.logLevel=DEBUG")
    assert ready(release) == 2
    assert release.get(CRD)["metadata"]["labels"][LABEL] != "0.0.0"
    release.helm("test", NAME, "--timeout=60s")

    release.apply(queue("notifications", worker=WORKER))
    release.kubectl("wait", "shq/notifications", "--for=condition=Ready", "--timeout=60s")
    release.kubectl("delete", "shq/notifications", "--timeout=60s")
    release.kubectl("wait", "deployment/notifications-worker", "--for=delete", "--timeout=60s")

    release.uninstall()
    assert not release.names() - before
    assert release.get(CRD)["spec"]["names"]["kind"] == "ShardedQueue"


def test_every_right_is_used_and_every_use_is_granted(release: Release) -> None:
    """By the API server's own account of all that the operator asked for while it did all that it can do."""
    if release.cluster.audit_log is None:
        pytest.skip("a cluster of yours keeps its audit log to itself")
    release.install("--set=redis.enabled=true", "--set=settings.leaseSeconds=3")
    release.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis-auth"}})
    release.apply(workload("Deployment", "mine"), workload("StatefulSet", "state"))
    scale_all(release)
    lose_a_worker(release)
    end_a_pin(release)
    lose_the_lease(release)

    asked = list(release.asked(release.cluster.audit_log))
    assert not {right for right, status in asked if status == 403}
    assert as_text({right for right, _ in asked}) == as_text(release.granted())


def test_a_worker_pod_has_no_rights_and_no_way_to_use_any(release: Release) -> None:
    """It knows no token, and its account may ask for nothing that not everybody may ask for."""
    release.install("--set=redis.enabled=true")
    release.apply(queue("owned", worker=WORKER, replicas=1))
    release.kubectl("wait", "deployment/owned-worker", "--for=create", "--timeout=60s")
    release.kubectl("wait", "deployment/owned-worker", "--for=jsonpath={.status.replicas}=1", "--timeout=60s")
    (pod,) = release.get("pods", "--selector=shardedqueue.dev/queue=owned")["items"]
    account = f"system:serviceaccount:{release.namespace}:{pod['spec']['serviceAccountName']}"

    mounted = [mount["mountPath"] for each in pod["spec"]["containers"] for mount in each.get("volumeMounts", [])]
    assert not [path for path in mounted if "serviceaccount" in path]
    assert release.rights(account) == release.rights("system:serviceaccount:nobody:nobody")
    if log := release.cluster.audit_log:
        assert not list(release.asked(log, account))


def scale_all(release: Release) -> None:
    """Workers of the operator's own, whose Redis has a Secret, and workloads of the user's."""
    owned = queue("owned", worker=WORKER, redis={"authSecretName": "redis-auth"}, replicas=2)
    mine = queue("mine", scaleTargetRef={"name": "mine"}, replicas=2)
    state = queue("state", scaleTargetRef={"kind": "StatefulSet", "name": "state"}, replicas=2)
    release.apply(owned, mine, state)
    for scaled in ("deployment/owned-worker", "deployment/mine", "statefulset/state"):
        release.kubectl("wait", scaled, "--for=create", "--timeout=60s")
        release.kubectl("wait", scaled, "--for=jsonpath={.status.replicas}=2", "--timeout=60s")


def lose_a_worker(release: Release) -> None:
    """While it holds a thread; and then there are to be fewer."""
    pod = release.get("pods", "--selector=shardedqueue.dev/queue=owned")["items"][0]["metadata"]["name"]
    hold(release.get("service", REDIS)["spec"]["clusterIP"], f"{release.namespace}.{pod}")
    release.kubectl("delete", "pod", pod, "--grace-period=1")
    until(lambda: release.get("events", "--field-selector=reason=LeasesFreed")["items"], "its thread is freed")
    release.kubectl("scale", "shq/owned", "--replicas=1")
    release.kubectl("wait", "deployment/owned-worker", "--for=jsonpath={.spec.replicas}=1", "--timeout=60s")


def end_a_pin(release: Release) -> None:
    release.kubectl("patch", "shq/owned", "--type=merge", '--patch={"spec": {"pinSeconds": 1}}')
    release.kubectl("wait", "shq/owned", "--for=jsonpath={.status.conditions[?(@.type=='Pinned')].status}=False")
    assert "replicas" not in release.get("shq/owned")["spec"]


def lose_the_lease(release: Release) -> None:
    """It is made anew, and then renewed."""
    release.kubectl("delete", "lease", OPERATOR)
    release.kubectl("wait", f"lease/{OPERATOR}", "--for=create", "--timeout=30s")
    release.kubectl("wait", f"lease/{OPERATOR}", "--for=jsonpath={.spec.leaseTransitions}=0", "--timeout=30s")


def hold(host: str, worker: str) -> None:
    """Bind a thread with one request, as that worker would."""

    class Owned(Handler):
        name = "owned.Handler"

        async def perform(self, *requests: int) -> None: ...

    async def held() -> None:
        async with Redis(host=host) as redis:
            storage, coordinator = RedisStorage(redis), RedisCoordinator(redis)
            coordinator.attach(storage)
            await Queue(storage).register(Owned, 1)
            (shard,) = Owned.all_shards()
            assert (await coordinator.bind(shard, BindRequest(f"{worker}/1", 1, 1, 300))).batches

    asyncio.run(held())


def as_text(rights: set[Right]) -> list[str]:
    return sorted(f"{right.verb} {right.resource}.{right.group}" for right in rights)
