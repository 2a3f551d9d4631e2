"""A spec at work: changed, wrong, deeply nested, suspended, paused, pinned, recommending."""

import json

from tests.operator_api.conftest import HANDLER, Queues
from tools.operator_process import PATIENCE, Operator, Start


def test_deletion_leaves_nothing(queues: Queues, operator: Operator) -> None:
    queues.apply()
    queues.wait_for_replicas(0)
    queues.kubectl("delete", "shq", "notifications")

    queues.kubectl("wait", "--for=delete", "deployment/notifications-worker", f"--timeout={PATIENCE:.0f}s")
    assert 'queue="notifications"' not in operator.page("/metrics")


def test_a_changed_spec_changes_the_pods(queues: Queues, operator: Operator) -> None:
    queues.apply()
    queues.wait_for_replicas(0)
    queues.apply(worker={"image": "localhost/newer:dev", "modules": ["notifications"]})

    image = ".spec.template.spec.containers[0].image"
    queues.wait(image, "localhost/newer:dev", kind="deployment", name="notifications-worker")
    queues.wait(".status.observedGeneration", 2)


def test_a_bad_template_is_told_and_keeps_the_last_good_workers(queues: Queues, operator: Operator) -> None:
    queues.apply()
    queues.redis.register(threads=2, each=2000)
    queues.wait_for_replicas(2)
    template = {"spec": {"terminationGracePeriodSeconds": 5}}
    queues.apply(worker={"image": "localhost/newer:dev", "modules": ["notifications"], "template": template})

    queues.wait_for_condition("Ready", "BadSpec")
    assert "must be greater than drain.timeoutSeconds, 30" in queues.wait_for_event("BadSpec")
    deployment = queues.get("deployment", "notifications-worker")
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "localhost/absent:dev"

    queues.apply()
    queues.wait_until_served()


def test_a_template_that_the_server_refuses_is_told(queues: Queues, operator: Operator) -> None:
    template = {"spec": {"restartPolicy": "Sometimes"}}
    queues.apply(worker={"image": "localhost/absent:dev", "modules": ["notifications"], "template": template})

    queues.wait_for_condition("Ready", "WorkloadRefused")
    assert "restartPolicy" in queues.wait_for_event("WorkloadRefused")


def test_a_template_that_the_server_cannot_read_is_told(queues: Queues, operator: Operator) -> None:
    """It answers 500, as if it were at fault itself."""
    worker = {"image": "localhost/absent:dev", "modules": ["notifications"], "template": {"spec": {"unheard": "of"}}}
    queues.apply(worker=worker)

    queues.wait_for_condition("Ready", "WorkloadRefused")
    assert ".spec.template.spec.unheard: field not declared in schema" in queues.wait_for_event("WorkloadRefused")


def test_a_template_may_hold_any_letters(queues: Queues, operator: Operator) -> None:
    env = {"spec": {"containers": [{"name": "worker", "env": [{"name": "A", "value": "\U0001f6d1"}]}]}}
    queues.apply(worker={"image": "localhost/absent:dev", "modules": ["notifications"], "template": env})

    queues.wait_for_replicas(0)
    (container,) = queues.get("deployment", "notifications-worker")["spec"]["template"]["spec"]["containers"]
    assert {"name": "A", "value": "\U0001f6d1"} in container["env"]


def test_a_resource_nested_deeper_than_python_reads_disturbs_no_other(queues: Queues, start_operator: Start) -> None:
    """One was enough to end the watches and the lists of all, and with them the operator, again and again."""
    deep = json.dumps(queues.manifest("deep")).replace('"modules"', f'"template": {nested(3_000)}, "modules"')
    path = f"/apis/shardedqueue.dev/v1alpha1/namespaces/{queues.namespace}/shardedqueues"
    queues.kubectl("create", "--raw", path, "--filename", "-", stdin=deep)
    operator = start_operator()
    queues.apply()
    queues.redis.register(threads=1, each=1)

    queues.wait_for_replicas(1)
    queues.wait_for_condition("Ready", "WorkloadRefused", name="deep")
    assert operator.total("sharded_queue_operator_watch_failures_total") == 0


def nested(depth: int) -> str:
    return '{"a":' * depth + "{}" + "}" * depth


def test_one_bad_resource_does_not_disturb_another(queues: Queues, operator: Operator) -> None:
    template = {"spec": {"containers": "none"}}
    queues.apply("bad", worker={"image": "a", "modules": ["a"], "template": template}, handlers=[{"name": "bad"}])
    queues.wait_for_condition("Ready", "BadSpec", name="bad")
    queues.apply()
    queues.redis.register(threads=1, each=1)

    queues.wait_for_replicas(1)


def test_a_spoiled_queue_does_not_disturb_another(queues: Queues, operator: Operator) -> None:
    """A key of another kind where one queue keeps its counters makes that one unknown, and no other."""
    queues.redis.run(lambda client: client.set("tube_{spoiled}:counters", "no hash"))
    queues.apply("spoiled", handlers=[{"name": "spoiled"}])
    queues.apply()
    queues.redis.register(threads=1, each=1)

    queues.wait_for_replicas(1)
    queues.wait_for_condition("QueueKnown", "DataUnreadable", name="spoiled")


def test_a_person_pins_and_unpins(queues: Queues, operator: Operator) -> None:
    queues.apply()
    queues.wait_for_replicas(0)
    queues.kubectl("scale", "shq/notifications", "--replicas=3")

    queues.wait_for_replicas(3)
    queues.wait(".status.reason", "Pinned")
    queues.wait('.status.conditions[?(@.type=="Ready")].observedGeneration', 2)

    queues.apply(scaling={"scaleDownStabilizationSeconds": 1, "targetDrainSeconds": 1})
    queues.kubectl("patch", "shq", "notifications", "--type=json", "-p", '[{"op":"remove","path":"/spec/replicas"}]')
    queues.wait_for_replicas(0)


def test_the_annotation_keeps_replicas_from_rising_and_from_falling(queues: Queues, operator: Operator) -> None:
    def pause(direction: str) -> None:
        queues.kubectl("annotate", "shq", "notifications", "--overwrite", f"shardedqueue.dev/pause{direction}")

    queues.apply(scaling={"targetDrainSeconds": 1, "scaleDownStabilizationSeconds": 1})
    queues.wait_for_replicas(0)
    pause("=up")
    queues.redis.register(threads=2, each=200)
    queues.wait(".status.reason", "Paused")
    queues.wait(".status.message", "paused at 0; 400 requests in 2 threads ask for 2 workers; there are 0")
    assert queues.replicas() == 0
    pause("=down")
    queues.wait_for_replicas(2)
    queues.redis.handle()
    queues.wait(".status.reason", "Paused")
    assert queues.replicas() == 2
    pause("-")
    queues.wait_for_replicas(0)


def test_a_suspended_queue_has_no_workers(queues: Queues, operator: Operator) -> None:
    queues.redis.register(threads=2, each=2000)
    queues.apply()
    queues.wait_for_replicas(2)
    queues.kubectl("patch", "shq", "notifications", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    queues.wait_for_replicas(0)
    queues.wait(".status.reason", "Suspended")

    queues.kubectl("patch", "shq", "notifications", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    queues.wait_for_replicas(2)


def test_a_paused_handler_asks_for_no_worker_and_that_is_told(queues: Queues, operator: Operator) -> None:
    queues.redis.register(threads=2, each=2000)
    queues.redis.pause(True)
    queues.apply()
    message = f"4,000 requests in 2 threads ({HANDLER} is paused) ask for 0 workers"
    queues.wait(".status.message", message)
    assert queues.replicas() == 0

    queues.redis.pause(False)
    queues.wait_for_replicas(2)


def test_a_recommendation_changes_nothing(queues: Queues, operator: Operator) -> None:
    queues.redis.register(threads=2, each=2000)
    queues.apply(scaling={"mode": "Recommend"})

    queues.wait(".status.reason", "Recommended")
    assert queues.get("shq", "notifications")["status"]["recommendedReplicas"] == 2
    assert queues.replicas() == 0
