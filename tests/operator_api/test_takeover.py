"""Another operator takes over, and news that was lost is made up for."""

import json

from tests.operator_api.conftest import Queues
from tools.operator_process import PATIENCE, Operator, Start, until
from tools.ports import free_port


def test_a_wipe_is_noticed_by_the_next_operator_too(queues: Queues, start_operator: Start) -> None:
    first = start_operator()
    queues.apply(scaling={"targetDrainSeconds": 1, "scaleDownStabilizationSeconds": 1})
    queues.redis.register(threads=3, each=200)
    queues.wait_for_replicas(3)
    queues.wait(".status.desiredReplicas", 3)
    first.kill()
    queues.redis.flush()

    start_operator()
    queues.wait_for_condition("QueueKnown", "DataLost")
    assert queues.replicas() == 3


def test_a_new_operator_finds_everything_as_it_should_be(queues: Queues, start_operator: Start) -> None:
    first = start_operator()
    queues.apply()
    queues.redis.register(threads=3, each=2000)
    queues.wait_for_replicas(3)
    queues.wait(".status.depth", 6000)
    first.kill()
    before = queues.get("deployment", "notifications-worker")["metadata"]["generation"]

    second = start_operator()
    second.wait_for_polls(6)
    after = queues.get("deployment", "notifications-worker")
    assert after["metadata"]["generation"] == before
    assert after["spec"]["replicas"] == 3
    of_pods_that_never_start = {"ImagePullBackOff", "Starving"}  # the latter once threads waited for the drain time
    told = [reason for reason, _ in queues.events() if reason not in of_pods_that_never_start]
    assert told == ["ScaledUp"]


def test_a_new_operator_does_not_tell_again_what_was_told(queues: Queues, start_operator: Start) -> None:
    first = start_operator()
    template = {"spec": {"terminationGracePeriodSeconds": 5}}
    queues.apply("bad", worker={"image": "a", "modules": ["a"], "template": template})
    queues.apply("refused", worker={"image": "a", "modules": ["a"], "template": {"spec": {"unheard": "of"}}})
    queues.apply("unknown", redis={"addresses": [f"127.0.0.1:{free_port()}"]})
    for name, reason in (("bad", "BadSpec"), ("refused", "WorkloadRefused"), ("unknown", "RedisUnreachable")):
        queues.wait_for_condition("Ready", reason, name=name)
        queues.wait_for_event(reason)
    first.kill()

    second = start_operator()
    second.wait_for_polls(2, "unknown")
    second.wait_for_polls(2, "known")
    assert sorted(reason for reason, _ in queues.events()) == ["BadSpec", "RedisUnreachable", "WorkloadRefused"]


def test_changes_while_no_operator_ran_are_made_up_for(queues: Queues, start_operator: Start) -> None:
    first = start_operator()
    queues.apply()
    queues.wait_for_replicas(0)
    first.kill()
    queues.kubectl("scale", "deployment", "notifications-worker", "--replicas=0")
    queues.redis.register(threads=3, each=2000)

    start_operator()
    queues.wait_for_replicas(3)


def test_only_the_leader_works_and_another_takes_over(queues: Queues, start_operator: Start) -> None:
    lease = {"OPERATOR_LEASE_NAMESPACE": queues.namespace, "OPERATOR_LEASE_SECONDS": "3"}
    bring_lease(queues)
    first = start_operator(**lease, OPERATOR_IDENTITY="first")
    until(first.is_ready, "the first leads")
    second = start_operator(**lease, OPERATOR_IDENTITY="second")
    queues.apply()
    queues.wait_for_replicas(0)
    assert not second.is_ready()

    first.kill()
    until(second.is_ready, "the second leads")
    queues.redis.register(threads=1, each=1)
    queues.wait_for_replicas(1)


def test_the_leader_makes_a_deleted_lease_anew_and_goes_on_leading(queues: Queues, start_operator: Start) -> None:
    """An operator that waited once took it, and two led for some seconds."""
    lease = {"OPERATOR_LEASE_NAMESPACE": queues.namespace, "OPERATOR_LEASE_SECONDS": "15"}
    bring_lease(queues)
    first = start_operator(**lease, OPERATOR_IDENTITY="first")
    until(first.is_ready, "the first leads")
    second = start_operator(**lease, OPERATOR_IDENTITY="second")
    until(lambda: has_seen_the_lease(second), "the second has seen the Lease")
    queues.kubectl("delete", "lease", "sharded-queue-operator")

    queues.wait(".spec.holderIdentity", "first", kind="lease", name="sharded-queue-operator")
    assert not second.is_ready()
    assert first.process.poll() is None


def bring_lease(queues: Queues) -> None:
    """As the chart does: without a holder."""
    kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "sharded-queue-operator"}}
    queues.kubectl("apply", "--filename=-", stdin=json.dumps(kind))


def has_seen_the_lease(operator: Operator) -> bool:
    """It waits for it: that is all it asks for, after the kind of its resources."""
    try:
        return operator.total("sharded_queue_operator_api_calls_total", 'verb="GET"', 'status="200"') >= 2
    except OSError:  # it has only just begun
        return False


def test_a_leader_that_is_told_to_stop_hands_over_at_once(queues: Queues, start_operator: Start) -> None:
    lease = {"OPERATOR_LEASE_NAMESPACE": queues.namespace, "OPERATOR_LEASE_SECONDS": "60"}
    bring_lease(queues)
    first = start_operator(**lease, OPERATOR_IDENTITY="first")
    until(first.is_ready, "the first leads")
    first.process.terminate()

    assert first.process.wait(PATIENCE) == 0
    assert queues.get("lease", "sharded-queue-operator")["spec"].get("holderIdentity", "") == ""


def test_a_lost_watch_is_made_up_for_by_lists(queues: Queues, start_operator: Start) -> None:
    """The operator's watch is filtered by a label; who takes it away hides the Deployment until the next list."""
    start_operator(OPERATOR_RESYNC_SECONDS="1")
    queues.apply()
    queues.wait_for_replicas(0)
    queues.kubectl("label", "deployment", "notifications-worker", "app.kubernetes.io/managed-by-")

    label = ".metadata.labels.app\\.kubernetes\\.io/managed-by"
    queues.wait(label, "sharded-queue-operator", kind="deployment", name="notifications-worker")
