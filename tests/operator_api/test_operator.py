"""The operator at work: what it makes of requests, faults, and other people's hands."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.harness.certificates import Authority, TlsServer
from tests.operator_api.conftest import HANDLER, Queues, QueueServer
from tools.operator_process import Operator, until


def test_none_to_all_in_one_write(queues: Queues, operator: Operator) -> None:
    """30 threads × (0.02 s × 100 + 0.01 s) are 60.3 s of work, for √60.3 lanes: 8 workers."""
    queues.apply()
    queues.wait_for_replicas(0)
    queues.redis.register(threads=30, each=100)

    queues.wait_for_replicas(8)
    assert queues.get("deployment", "notifications-worker")["metadata"]["generation"] == 2
    queues.wait(".status.desiredReplicas", 8)
    status = queues.get("shq", "notifications")["status"]
    assert status["depth"] == 3000
    assert status["threads"]["total"] == 30
    assert queues.wait_for_event("ScaledUp").startswith("from 0 to 8: 3,000 requests in 30 threads")


def test_never_more_than_the_maximum(queues: Queues, operator: Operator) -> None:
    queues.apply(scaling={"maxReplicas": 4})
    queues.redis.register(threads=50, each=2000)

    queues.wait_for_replicas(4)
    queues.wait_for_condition("ScalingLimited", "TooFewReplicas")


def test_a_first_request_does_not_wait_for_the_poll(queues: Queues, operator: Operator) -> None:
    queues.apply(scaling={"pollPeriodSeconds": 300})
    queues.wait_for_condition("QueueKnown", "Read")
    until(lambda: subscribers(queues.redis) > 0, "the operator listens")
    queues.redis.register(threads=1, each=1)

    queues.wait_for_replicas(1)


def test_a_schedule_alone_asks_for_a_worker_when_it_is_due(queues: Queues, operator: Operator) -> None:
    queues.redis.schedule(every_seconds=3600)
    queues.apply()
    queues.wait_for_condition("QueueKnown", "Read")
    operator.wait_for_polls(outcome="known")
    assert queues.replicas() == 0

    queues.redis.schedule(every_seconds=1)
    queues.wait_for_replicas(1)


def subscribers(redis: QueueServer) -> int:
    counted: list[tuple[bytes, int]] = redis.run(lambda client: client.pubsub_numsub("tube_awake"))
    return counted[0][1]


def test_handlers_with_a_prefix_are_found(queues: Queues, operator: Operator) -> None:
    queues.apply(redis={"addresses": [queues.redis.address], "keyPrefix": "shop_"})
    queues.redis.register(threads=2, each=1, prefix="shop_")

    queues.wait_for_replicas(1)
    queues.wait(".status.depth", 2)


def test_without_redis_the_workers_stay(queues: Queues, operator: Operator) -> None:
    queues.apply()
    queues.redis.register(threads=5, each=2000)
    queues.wait_for_replicas(5)

    queues.redis.stop()
    queues.wait_for_condition("QueueKnown", "RedisUnreachable")
    queues.wait_for_condition("Ready", "RedisUnreachable")
    operator.wait_for_polls(1, outcome="unknown")
    assert queues.replicas() == 5
    assert queues.redis.address in queues.wait_for_event("RedisUnreachable")

    queues.redis.start()
    queues.wait_for_condition("QueueKnown", "Read")
    queues.wait_for_event("RedisFound")
    assert queues.replicas() == 5
    assert [reason for reason, _ in queues.events()].count("RedisUnreachable") == 1


def test_without_redis_the_workers_rise_to_the_fallback(queues: Queues, operator: Operator) -> None:
    queues.redis.stop()
    queues.apply(scaling={"fallback": {"policy": "AtLeast", "replicas": 2}})

    queues.wait_for_replicas(2)


def test_a_wiped_redis_takes_no_worker_away(queues: Queues, operator: Operator) -> None:
    queues.apply(scaling={"targetDrainSeconds": 1, "scaleDownStabilizationSeconds": 1})
    queues.redis.register(threads=3, each=200)
    queues.wait_for_replicas(3)
    queues.wait(".status.desiredReplicas", 3)

    queues.redis.flush()
    queues.wait_for_condition("QueueKnown", "DataLost")
    operator.wait_for_polls(outcome="known")
    assert queues.replicas() == 3


def test_an_empty_queue_falls_to_the_minimum_after_the_window(queues: Queues, operator: Operator) -> None:
    queues.apply(scaling={"minReplicas": 1, "targetDrainSeconds": 1, "scaleDownStabilizationSeconds": 1}, replicas=3)
    queues.wait_for_replicas(3)
    queues.kubectl("patch", "shq", "notifications", "--type=json", "-p", '[{"op":"remove","path":"/spec/replicas"}]')

    queues.wait_for_replicas(1)
    assert queues.wait_for_event("ScaledDown").startswith("from 3 to 1: 0 requests in 0 threads")


@pytest.mark.usefixtures("cluster")  # a pod that no kubelet runs is gone at once, and nobody says that it ended
def test_threads_of_a_pod_that_ended_are_freed_long_before_their_lease_ends(queues: Queues, operator: Operator) -> None:
    """By the word of its kubelet. The holds are made in the pods' names, and some in those of no pods of ours."""
    gone, stays, _ = holding_pods(queues, operator)
    queues.redis.bind(f"elsewhere.{gone}/f00d")
    queues.kubectl("delete", "pod", gone, "--grace-period=1")

    assert gone in queues.wait_for_event("LeasesFreed")
    others = {f"{queues.namespace}.{stays}/f00d", "laptop/f00d", f"elsewhere.{gone}/f00d"}
    assert queues.redis.owners() == others


def test_threads_of_a_pod_that_is_merely_gone_wait_for_their_lease(queues: Queues, operator: Operator) -> None:
    """Its process may go on: two workers once had one thread in their hands then."""
    gone, *_ = holding_pods(queues, operator)
    held = queues.redis.owners()
    queues.kubectl("delete", "pod", gone, "--force", "--grace-period=0")
    queues.wait(".status.replicas", 3, kind="deployment", name="notifications-worker")
    operator.wait_for_polls(3)

    assert queues.redis.owners() == held
    assert "LeasesFreed" not in dict(queues.events())


def holding_pods(queues: Queues, operator: Operator) -> list[str]:
    """Three pods; each of the first two holds a thread, and so does a worker that is not a pod."""
    queues.apply(scaling={"maxReplicas": 3})
    queues.redis.register(threads=4, each=2000)
    queues.wait_for_replicas(3)
    selector = ("--selector", "shardedqueue.dev/queue=notifications")
    pods: list[str] = until(lambda: three(queues.kubectl("get", "pods", *selector, "-o", "name")), "three pods")
    for owner in (f"{queues.namespace}.{pods[0]}", f"{queues.namespace}.{pods[1]}", "laptop"):
        queues.redis.bind(f"{owner}/f00d")
    operator.wait_for_polls(2)
    return pods


def test_workers_that_each_hold_less_than_they_could_become_fewer(queues: Queues, operator: Operator) -> None:
    """The one that holds most stays, and the others go once they have handed over what they hold."""
    scaling = {"threadsPerReplica": 10, "targetDrainSeconds": 1, "scaleDownStabilizationSeconds": 1}
    queues.redis.register(threads=4, each=2000)
    queues.apply(scaling=scaling | {"minReplicas": 3})
    queues.wait_for_replicas(3)
    selector = ("--selector", "shardedqueue.dev/queue=notifications")
    pods: list[str] = until(lambda: three(queues.kubectl("get", "pods", *selector, "-o", "name")), "three pods")
    leases = [queues.redis.bind(f"{queues.namespace}.{pods[number]}/f00d") for number in (0, 1, 1, 2)]
    operator.wait_for_polls(2)
    assert queues.replicas() == 3

    queues.apply(scaling=scaling)
    queues.wait_for_condition("ScaleDownWaits", "FinishingRequests")
    assert queues.replicas() == 3
    queues.redis.release(leases[0], leases[3])
    queues.wait_for_replicas(1)
    for gone in (pods[0], pods[2]):
        queues.kubectl("wait", "--for=delete", f"pod/{gone}", "--timeout=60s")
    assert queues.get("pod", pods[1])["metadata"].get("deletionTimestamp") is None


def three(names: str) -> list[str] | None:
    pods = [name.removeprefix("pod/") for name in names.split()]
    return pods if len(pods) == 3 else None


def test_a_thread_that_is_held_for_long_and_those_that_wait_for_it_are_named(
    queues: Queues, operator: Operator
) -> None:
    queues.apply(scaling={"maxReplicas": 1, "targetDrainSeconds": 1})
    queues.redis.register(threads=3, each=2000)
    queues.redis.bind("laptop/f00d")

    assert f"of {HANDLER} has kept a worker busy for 1 s" in queues.wait_for_event("HotThreads")
    assert "with 0 of 1 worker ready" in queues.wait_for_event("Starving")
    operator.wait_for_polls(2)
    before = operator.writes()
    operator.wait_for_polls(5)
    assert operator.writes() <= before + 1


def test_a_password_is_taken_from_its_secret_and_followed(queues: Queues, operator: Operator) -> None:
    queues.redis.run(lambda client: client.config_set("requirepass", "first"))
    queues.apply(redis={"addresses": [queues.redis.address], "authSecretName": "redis-auth"})
    queues.wait_for_condition("QueueKnown", "SecretMissing")

    keep_secret(queues, "redis-auth", password=b"first")
    queues.wait_for_condition("QueueKnown", "Read")
    queues.redis.register(threads=1, each=1, password="first")
    queues.wait_for_replicas(1)

    queues.redis.run(lambda client: client.config_set("requirepass", "second"), password="first")
    queues.redis.run(lambda client: client.client_kill_filter(_type="normal", skipme=True), password="second")
    queues.wait_for_condition("QueueKnown", "RedisUnreachable")
    keep_secret(queues, "redis-auth", password=b"second")
    queues.wait_for_condition("QueueKnown", "Read")


def test_an_authority_is_taken_from_its_secret_and_followed(queues: Queues, operator: Operator, tmp_path: Path) -> None:
    before, after = (TlsServer(tmp_path / name, Authority(tmp_path / f"ca-{name}")) for name in ("before", "after"))
    after.port = before.port
    tls = {"mode": "Verify", "caSecretName": "redis-ca"}
    with running(before):
        keep_secret(queues, "redis-ca", **{"ca.crt": before.authority.file.read_bytes()})
        queues.apply(redis={"addresses": [f"localhost:{before.port}"], "tls": tls})
        queues.wait_for_condition("QueueKnown", "Read")
    with running(after):
        until(lambda: "is not trusted" in queues.get("shq", "notifications")["status"]["message"], "it says why")
        keep_secret(queues, "redis-ca", **{"ca.crt": after.authority.file.read_bytes()})
        queues.wait_for_condition("QueueKnown", "Read")


@contextmanager
def running(server: TlsServer) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()


def keep_secret(queues: Queues, name: str, **data: bytes) -> None:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}
    queues.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump(manifest))


def test_it_measures_nothing_of_a_queue_whose_spec_makes_no_sense_any_more(queues: Queues, operator: Operator) -> None:
    """The last depth would stand in graphs and alerts as if it were the newest."""
    labels = (f'namespace="{queues.namespace}"', 'queue="notifications"')
    queues.apply()
    queues.redis.register(threads=2, each=10)
    until(lambda: operator.total("sharded_queue_depth", *labels) == 20, "the depth is exported")
    worker = {"image": "localhost/absent:dev", "modules": ["notifications"]}
    queues.apply(worker=worker | {"template": {"spec": {"terminationGracePeriodSeconds": 1}}})
    until(lambda: operator.total("sharded_queue_accepted", *labels) == 0, "the queue is refused")

    until(lambda: "sharded_queue_depth{" not in operator.page("/metrics"), "its depth is told no more")
    assert "sharded_queue_known{" not in operator.page("/metrics")


def test_it_measures_what_it_does(queues: Queues, operator: Operator) -> None:
    queues.apply()
    queues.redis.register(threads=2, each=10)
    queues.wait_for_replicas(1)
    queues.wait(".status.desiredReplicas", 1)

    labels = (f'namespace="{queues.namespace}"', 'queue="notifications"')
    until(lambda: operator.total("sharded_queue_depth", *labels) == 20, "the depth is exported")
    assert operator.total("sharded_queue_scalings_total", *labels, 'direction="up"') == 1
    assert operator.page("/livez") == "ok"
    assert HANDLER not in operator.page("/metrics")
