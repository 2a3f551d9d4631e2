from typing import Any

import pytest
from kubernetes.aio.client import V1Deployment

from sharded_queue.settings import FIELDS, read
from sharded_queue_operator.errors import BadSpec
from sharded_queue_operator.resource.deployment import QUEUE, deployment, pod_template
from sharded_queue_operator.resource.spec import Resource, parsed

BODY = {
    "apiVersion": "shardedqueue.dev/v1alpha1",
    "kind": "ShardedQueue",
    "metadata": {"namespace": "shop", "name": "notifications", "uid": "1-2", "generation": 1},
}


def resource(template: dict[str, Any] | None = None, **spec: Any) -> Resource:
    worker = {"image": "registry.example/n:1.4", "modules": ["notifications", "sms"], "template": template or {}}
    least = {"redis": {"addresses": ["redis:6379"]}, "handlers": [{"name": "a"}, {"name": "b"}], "worker": worker}
    return parsed({**BODY, "spec": least | spec})


def container(template: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    first: dict[str, Any] = pod_template(resource(template, **spec))["spec"]["containers"][0]
    return first


def environment(**spec: Any) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container(**spec)["env"]}


def with_container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "worker", **fields}]}}


def test_the_manifest_is_a_deployment_that_the_resource_owns() -> None:
    manifest = deployment(resource(), 3)

    V1Deployment.from_dict(manifest)  # knows every field it must have, and their types
    assert manifest["metadata"]["name"] == "notifications-worker"
    assert manifest["metadata"]["ownerReferences"][0]["uid"] == "1-2"
    assert manifest["spec"]["replicas"] == 3
    assert manifest["spec"]["template"]["metadata"]["labels"][QUEUE] == "notifications"


def test_a_worker_has_no_rights_by_default() -> None:
    spec = pod_template(resource())["spec"]
    security = spec["containers"][0]["securityContext"]

    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_a_pod_lives_longer_than_its_drain() -> None:
    assert pod_template(resource(drain={"timeoutSeconds": 120}))["spec"]["terminationGracePeriodSeconds"] == 130


def test_the_worker_is_told_what_it_serves() -> None:
    values = environment(scaling={"threadsPerReplica": 4}, redis={"addresses": ["redis:6379"], "keyPrefix": "shop_"})

    assert container()["args"] == ["notifications", "sms"]
    assert values["QUEUE_REDIS_ADDRESS"] == "redis:6379"
    assert values["QUEUE_TUBE_PREFIX"] == "shop_tube_"
    assert values["QUEUE_WORKER_CONCURRENCY"] == "4"
    assert values["QUEUE_WORKER_HANDLERS"] == "a,b"
    assert values["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert values["QUEUE_WORKER_NAME"] == "shop.$(POD_NAME)"
    assert not [name for name in values if "PASSWORD" in name]


def test_the_library_reads_all_that_a_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that the library does not know would keep every pod from starting."""
    redis = {
        "addresses": ["a:1", "b:2"],
        "mode": "Sentinel",
        "sentinelMasterName": "main",
        "authSecretName": "auth",
        "tls": {"mode": "Verify", "caSecretName": "ca"},
    }
    for name, value in environment(redis=redis).items():
        monkeypatch.setenv(name, value if isinstance(value, str) else "from-elsewhere")

    found = read()
    assert found.redis_address == ("a:1", "b:2")
    assert found.redis_mode == "Sentinel"
    assert found.redis_sentinel_master == "main"
    assert found.redis_tls == "Verify"
    assert found.redis_tls_ca == "/etc/sharded-queue/redis-ca/ca.crt"
    assert found.worker_handlers == ("a", "b")
    assert found.worker_drain == 30
    unknown = {name for name in environment(redis=redis) if name.removeprefix("QUEUE_").lower() not in FIELDS}
    assert unknown == {"POD_NAME"}


def test_secrets_are_named_and_never_copied() -> None:
    redis = {"addresses": ["redis:6379"], "authSecretName": "redis-secret"}
    template = pod_template(resource(redis=redis))

    mounts = template["spec"]["containers"][0]["volumeMounts"]
    assert {"name": "redis-auth", "secret": {"secretName": "redis-secret", "optional": True}} in template["spec"][
        "volumes"
    ]
    assert {"name": "redis-auth", "mountPath": "/etc/sharded-queue/redis-auth", "readOnly": True} in mounts
    assert environment(redis=redis)["QUEUE_REDIS_AUTH_FOLDER"] == "/etc/sharded-queue/redis-auth"


def test_an_authority_is_mounted_and_named() -> None:
    template = pod_template(
        resource(redis={"addresses": ["redis:6379"], "tls": {"mode": "Verify", "caSecretName": "redis-ca"}})
    )

    assert {"name": "redis-ca", "secret": {"secretName": "redis-ca"}} in template["spec"]["volumes"]
    mounts = template["spec"]["containers"][0]["volumeMounts"]
    assert {"name": "redis-ca", "mountPath": "/etc/sharded-queue/redis-ca", "readOnly": True} in mounts


def test_the_template_is_laid_over_field_by_field() -> None:
    merged = container(with_container(resources={"limits": {"memory": "1Gi"}}, securityContext={"runAsUser": 1000}))

    assert merged["resources"] == {"limits": {"memory": "1Gi"}}
    assert merged["securityContext"]["runAsUser"] == 1000
    assert merged["securityContext"]["readOnlyRootFilesystem"] is True
    assert merged["image"] == "registry.example/n:1.4"


def test_a_probe_that_looks_in_another_way_leaves_nothing_of_ours() -> None:
    """Kubernetes refuses a probe of two ways: the merged one was."""
    probe = {"tcpSocket": {"port": 9090}, "periodSeconds": 3}

    assert container(with_container(livenessProbe=probe))["livenessProbe"] == probe
    assert container(with_container(startupProbe=probe))["startupProbe"] == probe


def test_the_numbers_of_a_probe_can_be_changed_alone() -> None:
    probe = container(with_container(livenessProbe={"failureThreshold": 60}))["livenessProbe"]

    assert probe == container()["livenessProbe"] | {"failureThreshold": 60}


def test_a_null_takes_a_field_away() -> None:
    """Where a platform chooses the user of each namespace, as OpenShift does, ours must not be asked for."""
    template: dict[str, Any] = {
        "spec": {
            "securityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
            "containers": [{"name": "worker", "livenessProbe": None}],
        }
    }
    spec = pod_template(resource(template))["spec"]

    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert "livenessProbe" not in spec["containers"][0]


def test_variables_are_added_and_replaced_as_a_whole() -> None:
    merged = container(
        with_container(env=[{"name": "QUEUE_REDIS_ADDRESS", "valueFrom": {"x": {}}}, {"name": "MINE", "value": "1"}])
    )
    by_name = {item["name"]: item for item in merged["env"]}

    assert by_name["QUEUE_REDIS_ADDRESS"] == {"name": "QUEUE_REDIS_ADDRESS", "valueFrom": {"x": {}}}
    assert by_name["MINE"]["value"] == "1"
    assert by_name["QUEUE_REDIS_MODE"]["value"] == "Standalone"


def test_other_containers_and_volumes_stand_beside_ours() -> None:
    template = {
        "spec": {
            "containers": [{"name": "proxy", "image": "p"}],
            "initContainers": [{"name": "wait", "image": "w"}],
            "volumes": [{"name": "cache", "emptyDir": {}}],
            "tolerations": [{"key": "spot"}],
        }
    }
    spec = pod_template(resource(template))["spec"]

    assert [item["name"] for item in spec["containers"]] == ["worker", "proxy"]
    assert [item["name"] for item in spec["volumes"]] == ["tmp", "cache"]
    assert spec["initContainers"] == [{"name": "wait", "image": "w"}]
    assert spec["tolerations"] == [{"key": "spot"}]


def test_labels_are_added_but_ours_select() -> None:
    labels = pod_template(resource({"metadata": {"labels": {"team": "shop", QUEUE: "other"}}}))["metadata"]["labels"]

    assert labels["team"] == "shop"
    assert labels[QUEUE] == "notifications"


def test_labels_may_have_the_names_of_lists() -> None:
    """`env: prod` was once refused, as if it were a container's variables."""
    named = {"env": "prod", "containers": "two", "ports": "many", "volumes": "none"}
    template = pod_template(resource({"metadata": {"labels": named}}))

    assert named.items() <= template["metadata"]["labels"].items()


def test_a_port_needs_no_name() -> None:
    """It was once refused, though Kubernetes takes it."""
    ports = container(with_container(ports=[{"containerPort": 8080}, {"containerPort": 8081}]))["ports"]

    assert [port.get("name", port["containerPort"]) for port in ports] == ["metrics", 8080, 8081]


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ({"spec": "none"}, "worker.template.spec must be an object"),
        ({"spec": {"containers": {}}}, "worker.template.spec.containers must be a list of objects, each with its name"),
        ({"spec": {"containers": [{"image": "a"}]}}, "each with its name"),
        ({"spec": {"containers": [{"name": "worker", "env": ["A=1"]}]}}, "env must be a list of objects"),
        ({"spec": {"containers": [{"name": "worker", "securityContext": []}]}}, "securityContext must be an object"),
        ({"spec": {"terminationGracePeriodSeconds": None}}, "terminationGracePeriodSeconds cannot be removed"),
        ({"spec": {"containers": None}}, "worker.template.spec.containers cannot be removed"),
        ({"metadata": {"labels": None}}, "worker.template.metadata.labels cannot be removed"),
        ({"spec": {"terminationGracePeriodSeconds": 30}}, "is 30, but must be greater than drain.timeoutSeconds, 30"),
        ({"spec": {"terminationGracePeriodSeconds": "long"}}, "is long, but must be greater"),
        ({"metadata": {"labels": ["a"]}}, "labels must be an object"),
        ({"spec": {"containers": [{"name": "b", "env": [1]}, {"name": "b", "env": []}]}}, "the name b occurs twice"),
        ({"spec": {"containers": [{"name": "worker"}, {"name": "worker"}]}}, "the name worker occurs twice"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(template: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadSpec, match=sentence):
        deployment(resource(template), 0)
