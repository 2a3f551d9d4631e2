"""The operator at work: what it makes of requests, faults, and other people's hands."""

import base64
import json
from pathlib import Path
from typing import Any

import yaml

from tests.harness.certificates import Authority, TlsServer
from tests.operator_api.conftest import HANDLER, Queues, QueueServer
from tools.operator_process import PATIENCE, Operator, Start, until
from tools.ports import free_port


def test_none_to_all_in_one_write(queues: Queues, operator: Operator) -> None:
    """30 threads × (0.02 s × 100 + 0.01 s) / 10 s = 6.03 lanes, which are 7 workers."""
    queues.apply()
    queues.wait_for_replicas(0)
    queues.redis.register(threads=30, each=100)

    queues.wait_for_replicas(7)
    assert queues.get("deployment", "notifications-worker")["metadata"]["generation"] == 2
    queues.wait(".status.desiredReplicas", 7)
    status = queues.get("shq", "notifications")["status"]
    assert status["depth"] == 3000
    assert status["threads"]["total"] == 30
    assert queues.wait_for_event("ScaledUp").startswith("from 0 to 7: 3,000 requests in 30 threads")


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


def test_an_empty_queue_falls_to_the_minimum_after_the_window(queues: Queues, operator: Operator) -> None:
    queues.apply(scaling={"minReplicas": 1, "targetDrainSeconds": 1, "scaleDownStabilizationSeconds": 1}, replicas=3)
    queues.wait_for_replicas(3)
    queues.kubectl("patch", "shq", "notifications", "--type=json", "-p", '[{"op":"remove","path":"/spec/replicas"}]')

    queues.wait_for_replicas(1)
    assert queues.wait_for_event("ScaledDown").startswith("from 3 to 1: 0 requests in 0 threads")


def test_replicas_that_others_set_are_put_right(queues: Queues, operator: Operator) -> None:
    queues.apply()
    queues.redis.register(threads=2, each=2000)
    queues.wait_for_replicas(2)

    queues.kubectl("scale", "deployment", "notifications-worker", "--replicas=7")
    queues.wait_for_event("ScaledDown")
    queues.wait_for_replicas(2)
    queues.kubectl("scale", "deployment", "notifications-worker", "--replicas=0")
    queues.wait_for_replicas(2)


def test_what_others_change_is_put_right(queues: Queues, operator: Operator) -> None:
    queues.apply()
    queues.redis.register(threads=2, each=2000)
    queues.wait_for_replicas(2)
    patch = {
        "metadata": {"labels": {"app.kubernetes.io/name": "other"}},
        "spec": {"template": {"spec": {"containers": [{"name": "worker", "image": "localhost/other:dev"}]}}},
    }
    queues.kubectl("patch", "deployment", "notifications-worker", "--type=strategic", "-p", yaml.safe_dump(patch))

    image = ".spec.template.spec.containers[0].image"
    queues.wait(image, "localhost/absent:dev", kind="deployment", name="notifications-worker")
    queues.wait_for_replicas(2)
    labels = queues.get("deployment", "notifications-worker")["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "sharded-queue-worker"


def test_what_others_add_stays(queues: Queues, operator: Operator) -> None:
    """An annotation of somebody else's is no drift: two controllers that fight over it would never end."""
    queues.apply()
    queues.wait_for_replicas(0)
    queues.kubectl("annotate", "deployment", "notifications-worker", "example.org/mine=1")
    before = operator.writes()

    operator.wait_for_polls()
    annotations = queues.get("deployment", "notifications-worker")["metadata"]["annotations"]
    assert annotations["example.org/mine"] == "1"
    assert operator.writes() == before


def test_a_quantity_in_another_spelling_is_no_drift(queues: Queues, operator: Operator) -> None:
    """The server writes 1000m as 1; what it made of our words is what we compare with."""
    limits = {"containers": [{"name": "worker", "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}}}]}
    worker = {"image": "localhost/absent:dev", "modules": ["notifications"], "template": {"spec": limits}}
    queues.apply(worker=worker)
    queues.wait_until_served()
    operator.wait_for_polls(2)
    before = operator.writes()

    operator.wait_for_polls()
    assert operator.writes() == before


def test_a_deleted_deployment_comes_back_with_its_workers(queues: Queues, operator: Operator) -> None:
    queues.apply()
    queues.redis.register(threads=2, each=2000)
    queues.wait_for_replicas(2)
    queues.wait(".status.desiredReplicas", 2)
    uid = queues.get("deployment", "notifications-worker")["metadata"]["uid"]
    queues.kubectl("delete", "deployment", "notifications-worker")

    queues.wait_for_replicas(2)
    assert queues.get("deployment", "notifications-worker")["metadata"]["uid"] != uid


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
    """A key of another kind where one queue keeps its counters makes that one unknown, and only that one."""
    queues.redis.run(lambda client: client.set("tube_{spoiled}:counters", "no hash"))
    queues.apply("spoiled", handlers=[{"name": "spoiled"}])
    queues.apply()
    queues.redis.register(threads=1, each=1)

    queues.wait_for_replicas(1)
    queues.wait_for_condition("QueueKnown", "RedisUnreachable", name="spoiled")


def test_somebody_elses_deployment_is_left_alone(queues: Queues, operator: Operator) -> None:
    create = ["create", "deployment", "notifications-worker", "--image=localhost/theirs:dev", "--replicas=1"]
    queues.kubectl(*create)
    queues.apply()

    queues.wait_for_condition("Ready", "NameTaken")
    container = queues.get("deployment", "notifications-worker")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "localhost/theirs:dev"

    queues.kubectl("delete", "deployment", "notifications-worker")
    queues.wait_until_served()


def test_a_workload_of_the_user_is_scaled_and_nothing_else(queues: Queues, operator: Operator) -> None:
    queues.kubectl("create", "deployment", "mine", "--image=localhost/mine:dev", "--replicas=0")
    queues.apply(worker=None, scaleTargetRef={"name": "mine"})
    queues.redis.register(threads=4, each=2000)

    queues.wait_for_replicas(4, "mine")
    queues.wait(".status.desiredReplicas", 4)
    deployment = queues.get("deployment", "mine")
    assert "ownerReferences" not in deployment["metadata"]
    assert "shardedqueue" not in str(deployment["spec"])


def test_of_two_resources_with_one_workload_the_older_scales_it(queues: Queues, operator: Operator) -> None:
    queues.kubectl("create", "deployment", "mine", "--image=localhost/mine:dev", "--replicas=0")
    queues.apply(worker=None, scaleTargetRef={"name": "mine"})
    queues.wait_until_served()
    queues.apply("younger", worker=None, scaleTargetRef={"name": "mine"}, scaling={"minReplicas": 5})
    queues.wait_for_condition("Ready", "TargetTaken", name="younger")
    operator.wait_for_polls()
    assert queues.replicas("mine") == 0

    queues.kubectl("delete", "shq", "notifications")
    queues.wait_for_replicas(5, "mine")


def test_a_missing_workload_of_the_user_is_told(queues: Queues, operator: Operator) -> None:
    queues.apply(worker=None, scaleTargetRef={"name": "nowhere"})

    queues.wait_for_condition("Ready", "WorkloadRefused")
    queues.kubectl("create", "deployment", "nowhere", "--image=localhost/mine:dev", "--replicas=0")
    queues.wait_until_served()


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
    """The one that holds most stays, and has room for what the others hand over as they stop."""
    scaling = {"threadsPerReplica": 10, "targetDrainSeconds": 1, "scaleDownStabilizationSeconds": 1}
    queues.redis.register(threads=4, each=2000)
    queues.apply(scaling=scaling | {"minReplicas": 3})
    queues.wait_for_replicas(3)
    selector = ("--selector", "shardedqueue.dev/queue=notifications")
    pods: list[str] = until(lambda: three(queues.kubectl("get", "pods", *selector, "-o", "name")), "three pods")
    for pod in (pods[0], pods[1], pods[1], pods[2]):
        queues.redis.bind(f"{queues.namespace}.{pod}/f00d")
    operator.wait_for_polls(2)
    assert queues.replicas() == 3

    queues.apply(scaling=scaling)
    queues.wait_for_replicas(1)
    for gone in (pods[0], pods[2]):
        queues.kubectl("wait", "--for=delete", f"pod/{gone}", "--timeout=60s")
    assert queues.get("pod", pods[1])["metadata"].get("deletionTimestamp") is None


def test_a_null_of_the_template_reaches_the_deployment(queues: Queues, operator: Operator) -> None:
    """By server-side apply, also when it is applied again: kubectl's own apply takes nulls out of what it sends."""
    container = {"name": "worker", "livenessProbe": {"tcpSocket": {"port": 9090}}}
    away = {"securityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}, "containers": [container]}
    worker = {"image": "localhost/absent:dev", "modules": ["notifications"], "template": {"spec": away}}

    def template() -> Any:
        queues.wait_for_replicas(0)
        return queues.get("deployment", "notifications-worker")["spec"]["template"]["spec"]

    def apply(**spec: Any) -> None:
        manifest = yaml.safe_dump(queues.manifest(worker=worker, **spec))
        queues.kubectl("apply", "--server-side", "--filename", "-", stdin=manifest)

    apply()
    first = template()
    assert first["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert "httpGet" not in first["containers"][0]["livenessProbe"]

    apply(scaling={"maxReplicas": 5})
    queues.wait(".status.observedGeneration", 2)
    assert template()["securityContext"] == first["securityContext"]


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
    before.start()
    keep_secret(queues, "redis-ca", **{"ca.crt": before.authority.file.read_bytes()})
    tls = {"mode": "Verify", "caSecretName": "redis-ca"}
    queues.apply(redis={"addresses": [f"localhost:{before.port}"], "tls": tls})
    queues.wait_for_condition("QueueKnown", "Read")
    before.stop()

    after.start()
    until(lambda: "certificate verify failed" in queues.get("shq", "notifications")["status"]["message"], "it says why")
    keep_secret(queues, "redis-ca", **{"ca.crt": after.authority.file.read_bytes()})
    queues.wait_for_condition("QueueKnown", "Read")
    after.stop()


def keep_secret(queues: Queues, name: str, **data: bytes) -> None:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}
    queues.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump(manifest))


def test_nothing_is_written_at_rest(queues: Queues, operator: Operator) -> None:
    queues.redis.register(threads=2, each=2000, handler="other")
    queues.apply()
    queues.wait_until_served()
    operator.wait_for_polls(2)
    before = operator.writes()

    operator.wait_for_polls(6)
    assert operator.writes() == before


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
    about_scaling = [reason for reason, _ in queues.events() if reason != "ImagePullBackOff"]
    assert about_scaling == ["ScaledUp"]


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
    first = start_operator(**lease, OPERATOR_IDENTITY="first")
    until(first.is_ready, "the first leads")
    second = start_operator(**lease, OPERATOR_IDENTITY="second")
    until(lambda: has_seen_the_lease(second), "the second has seen the Lease")
    queues.kubectl("delete", "lease", "sharded-queue-operator")

    queues.wait(".spec.holderIdentity", "first", kind="lease", name="sharded-queue-operator")
    assert not second.is_ready()
    assert first.process.poll() is None


def has_seen_the_lease(operator: Operator) -> bool:
    """It waits for it: that is all it asks for, after the kind of its resources."""
    try:
        return operator.total("sharded_queue_operator_api_calls_total", 'verb="GET"', 'status="200"') >= 2
    except OSError:  # it has only just begun
        return False


def test_a_leader_that_is_told_to_stop_hands_over_at_once(queues: Queues, start_operator: Start) -> None:
    lease = {"OPERATOR_LEASE_NAMESPACE": queues.namespace, "OPERATOR_LEASE_SECONDS": "60"}
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
