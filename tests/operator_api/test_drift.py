"""What others change of a workload is put right, what they add stays, and what they own is left alone."""

from typing import Any

import yaml

from tests.operator_api.conftest import Queues
from tools.operator_process import Operator, Start

STATEFUL_SET = {
    "apiVersion": "apps/v1",
    "kind": "StatefulSet",
    "metadata": {"name": "mine"},
    "spec": {
        "replicas": 3,
        "serviceName": "mine",
        "selector": {"matchLabels": {"app": "mine"}},
        "template": {
            "metadata": {"labels": {"app": "mine"}},
            "spec": {"containers": [{"name": "mine", "image": "localhost/mine:dev"}]},
        },
    },
}


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


def test_somebody_elses_deployment_is_left_alone(queues: Queues, operator: Operator) -> None:
    create = ["create", "deployment", "notifications-worker", "--image=localhost/theirs:dev", "--replicas=1"]
    queues.kubectl(*create)
    queues.apply()

    queues.wait_for_condition("Ready", "NameTaken")
    container = queues.get("deployment", "notifications-worker")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "localhost/theirs:dev"

    queues.kubectl("delete", "deployment", "notifications-worker")
    queues.wait_until_served()


def test_an_orphan_is_adopted(queues: Queues, operator: Operator) -> None:
    queues.redis.register(threads=2, each=2000)
    queues.apply()
    queues.wait_for_replicas(2)
    before = queues.get("deployment", "notifications-worker")["metadata"]["uid"]
    queues.kubectl("delete", "shq", "notifications", "--cascade=orphan")
    queues.apply()
    queues.wait_until_served()

    uid = queues.get("shq", "notifications")["metadata"]["uid"]
    metadata = queues.get("deployment", "notifications-worker")["metadata"]
    assert metadata["uid"] == before
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == [uid]


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


def test_a_deleted_queue_restores_the_number_of_its_target(queues: Queues, operator: Operator) -> None:
    """It left the Deployment at zero, and nobody handled requests again."""
    queues.kubectl("create", "deployment", "mine", "--image=localhost/mine:dev", "--replicas=3")
    queues.apply(worker=None, scaleTargetRef={"name": "mine"}, suspend=True)
    queues.wait_for_replicas(0, "mine")
    metadata = queues.get("deployment", "mine")["metadata"]
    assert metadata["annotations"]["shardedqueue.dev/original-replicas"] == "3"
    queues.kubectl("delete", "shq", "notifications")

    queues.wait_for_replicas(3, "mine")
    assert "shardedqueue" not in str(queues.get("deployment", "mine")["metadata"].get("annotations"))


def test_a_queue_that_keeps_the_number_leaves_its_target_as_it_is(queues: Queues, operator: Operator) -> None:
    for name in ("mine", "other"):
        queues.kubectl("create", "deployment", name, "--image=localhost/mine:dev", "--replicas=3")
    queues.apply(worker=None, scaleTargetRef={"name": "mine", "onDelete": "Keep"}, suspend=True)
    queues.apply("other", worker=None, scaleTargetRef={"name": "other"}, suspend=True)
    for name in ("mine", "other"):
        queues.wait_for_replicas(0, name)
    queues.kubectl("delete", "shq", "notifications", "other")

    queues.wait_for_replicas(3, "other")
    assert queues.replicas("mine") == 0


def test_the_next_operator_restores_what_was_deleted_without_one(queues: Queues, start_operator: Start) -> None:
    first = start_operator()
    queues.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(STATEFUL_SET))
    queues.apply(worker=None, scaleTargetRef={"kind": "StatefulSet", "name": "mine"}, suspend=True)
    queues.wait(".spec.replicas", 0, kind="statefulset", name="mine")
    first.kill()
    queues.kubectl("delete", "shq", "notifications")

    start_operator()
    queues.wait(".spec.replicas", 3, kind="statefulset", name="mine")


def test_a_missing_workload_of_the_user_is_told(queues: Queues, operator: Operator) -> None:
    queues.apply(worker=None, scaleTargetRef={"name": "nowhere"})

    queues.wait_for_condition("Ready", "WorkloadRefused")
    queues.kubectl("create", "deployment", "nowhere", "--image=localhost/mine:dev", "--replicas=0")
    queues.wait_until_served()


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


def test_nothing_is_written_at_rest(queues: Queues, operator: Operator) -> None:
    queues.redis.register(threads=2, each=2000, handler="other")
    queues.apply()
    queues.wait_until_served()
    operator.wait_for_polls(2)
    before = operator.writes()

    operator.wait_for_polls(6)
    assert operator.writes() == before
