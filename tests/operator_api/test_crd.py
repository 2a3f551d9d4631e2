"""What the API server itself makes of a ShardedQueue: no operator runs here."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.requirements import kstatus_of
from tests.operator_api.conftest import Queues, QueueServer
from tools.operator_process import CRDS


@pytest.fixture
def redis_server(tmp_path: Path) -> QueueServer:
    """An address is enough here; nothing runs there."""
    return QueueServer(tmp_path)


def test_it_is_small_enough_for_an_annotation() -> None:
    """`kubectl apply` keeps a copy of the CRD in an annotation."""
    assert (CRDS / "shardedqueues.yaml").stat().st_size < 64 * 1024


def test_the_server_adds_nothing_to_what_an_author_wrote(queues: Queues) -> None:
    """
    Defaults are the operator's, so that a better one reaches queues that exist, and GitOps tools find nothing to undo:
    a default inside of a list would be a difference to each of them for ever.
    """
    queues.apply()

    spec = queues.get("shq", "notifications")["spec"]
    assert spec == queues.manifest()["spec"]


def test_a_merge_as_argo_makes_it_and_a_dry_run_as_flux_makes_it_find_nothing_to_do(queues: Queues) -> None:
    wanted = queues.manifest(scaling={"maxReplicas": 3}, handlers=[{"name": "a"}, {"name": "b", "shards": 2}])
    apply = ("apply", "--server-side", "--field-manager=flux", "--filename", "-")
    queues.kubectl(*apply, stdin=yaml.safe_dump(wanted))
    live = queues.get("shq", "notifications")

    assert merge_patch(live["spec"], wanted["spec"]) == {}
    queues.kubectl(*apply, "--dry-run=server", stdin=yaml.safe_dump(wanted))
    assert queues.get("shq", "notifications")["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]
    assert (
        queues.kubectl("diff", "--server-side", "--field-manager=flux", "-f", "-", stdin=yaml.safe_dump(wanted)) == ""
    )


def test_a_queue_that_no_operator_has_seen_is_not_current(queues: Queues) -> None:
    """Without any status it was, and whoever waited for it by kstatus went on before a worker was asked for."""
    queues.apply()

    assert kstatus_of(queues.get("shq", "notifications")) == ["InProgress"]


def merge_patch(live: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What a JSON merge patch (RFC 7386) would add or change: lists are replaced as a whole."""
    found: dict[str, Any] = {}
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(live.get(key), dict):
            if inner := merge_patch(live[key], value):
                found[key] = inner
        elif live.get(key) != value:
            found[key] = value
    return found


REDIS = {"addresses": ["redis:6379"]}


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"redis": None}, "spec.redis: Required value"),
        ({"handlers": []}, "spec.handlers"),
        ({"handlers": [{"name": "no spaces"}]}, "spec.handlers[0].name"),
        ({"handlers": [{"name": "a"}, {"name": "a"}]}, "Duplicate value"),
        ({"handlers": [{"name": "a", "shards": 65}]}, "less than or equal to 64"),
        ({"handlers": [{"name": "a", "microsecondsPerRequest": 0}]}, "microsecondsPerRequest"),
        ({"handlers": [{"name": "a", "secondsPerRequest": 0}]}, "secondsPerRequest"),
        ({"worker": None}, "exactly one of worker and scaleTargetRef must be set"),
        ({"scaleTargetRef": {"name": "mine"}}, "exactly one of worker and scaleTargetRef must be set"),
        ({"worker": {"image": "a", "modules": ["not-a-module"]}}, "spec.worker.modules[0]"),
        ({"worker": None, "scaleTargetRef": {"name": "m", "kind": "DaemonSet"}}, "Unsupported value"),
        ({"scaling": {"minReplicas": 3, "maxReplicas": 2}}, "minReplicas must not be greater than maxReplicas"),
        ({"scaling": {"minReplicas": 11}}, "maxReplicas, which defaults to 10"),
        ({"scaling": {"maxReplicas": 0}}, "spec.scaling.maxReplicas"),
        ({"scaling": {"fallback": {"policy": "AtLeast"}}}, "replicas is required with policy AtLeast"),
        (
            {"scaling": {"maxReplicas": 2, "fallback": {"policy": "AtLeast", "replicas": 3}}},
            "fallback.replicas must not be greater than maxReplicas",
        ),
        ({"redis": {"addresses": ["redis://redis:6379"]}}, "spec.redis.addresses[0]"),
        ({"redis": {"addresses": ["a:1", "b:1"]}}, "mode Standalone takes one address"),
        ({"redis": REDIS | {"mode": "Sentinel"}}, "sentinelMasterName is required with mode Sentinel"),
        ({"redis": REDIS | {"sentinelMasterName": "m"}}, "sentinelMasterName is required with mode Sentinel"),
        ({"redis": REDIS | {"tls": {"caSecretName": "ca"}}}, "caSecretName needs mode Verify"),
        ({"redis": REDIS | {"keyPrefix": "{tag}"}}, "spec.redis.keyPrefix"),
        ({"redis": REDIS | {"password": "secret"}}, 'unknown field "spec.redis.password"'),
        ({"drain": {"timeoutSeconds": 0}}, "spec.drain.timeoutSeconds"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(queues: Queues, spec: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RuntimeError) as refused:
        queues.apply(**spec)

    assert sentence in str(refused.value)


def test_a_name_too_long_for_its_pods_is_refused(queues: Queues) -> None:
    with pytest.raises(RuntimeError, match="at most 52 characters"):
        queues.apply("n" * 53)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"redis": REDIS | {"keyPrefix": "other_"}}, "keyPrefix cannot be changed"),
        ({"handlers": [{"name": "a", "shards": 2}]}, "shards cannot be changed"),
        ({"worker": None, "scaleTargetRef": {"name": "mine"}}, "worker and scaleTargetRef cannot replace each other"),
    ],
)
def test_what_would_lose_requests_cannot_be_changed(queues: Queues, change: dict[str, Any], sentence: str) -> None:
    first = {"redis": REDIS, "handlers": [{"name": "a"}]}
    queues.apply(**first)

    with pytest.raises(RuntimeError, match=sentence):
        queues.kubectl("replace", "--filename", "-", stdin=str(queues.manifest(**(first | change))))


def test_what_earlier_releases_stored_stays(queues: Queues) -> None:
    """`secondsPerRequest` was taken out of the schema, and the server dropped it from each resource that it read."""
    handlers = [{"name": "a", "secondsPerRequest": 0.02}, {"name": "b", "secondsPerRequest": 1}]
    queues.apply(handlers=handlers)

    assert queues.get("shq", "notifications")["spec"]["handlers"] == handlers


def test_handlers_come_and_go(queues: Queues) -> None:
    queues.apply(handlers=[{"name": "a", "shards": 2}])
    queues.apply(handlers=[{"name": "b"}, {"name": "a", "shards": 2}])

    assert [handler["name"] for handler in queues.get("shq", "notifications")["spec"]["handlers"]] == ["b", "a"]


def test_explain_tells_defaults(queues: Queues) -> None:
    explained = " ".join(queues.kubectl("explain", "shq.spec.scaling").split())

    assert "Greatest number of workers (maxReplicaCount in KEDA). Defaults to 10." in explained


def test_a_list_shows_what_matters(queues: Queues) -> None:
    queues.apply()

    header = queues.kubectl("get", "shq").splitlines()[0].split()
    workers = ["DESIRED", "CURRENT", "RUNNING", "WORKERS"]
    assert header == ["NAME", "READY", *workers, "DEPTH", "LAG", "REASON", "AGE"]


def test_scale_pins_the_replicas(queues: Queues) -> None:
    queues.apply()
    queues.kubectl("scale", "shq/notifications", "--replicas=3")

    assert queues.get("shq", "notifications")["spec"]["replicas"] == 3


def test_a_pin_ends_when_replicas_is_removed(queues: Queues) -> None:
    queues.apply()
    queues.kubectl("scale", "shq/notifications", "--replicas=3")
    queues.kubectl("patch", "shq", "notifications", "--type=merge", "-p", '{"spec":{"replicas":null}}')

    assert "replicas" not in queues.get("shq", "notifications")["spec"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"redis": REDIS | {"keyPrefix": "a_"}}, {"redis": REDIS}),
        ({"handlers": [{"name": "a", "shards": 2}]}, {"handlers": [{"name": "a"}]}),
    ],
    ids=["keyPrefix", "shards"],
)
def test_to_leave_out_what_cannot_be_changed_is_a_change(
    queues: Queues, first: dict[str, Any], second: dict[str, Any]
) -> None:
    queues.apply(**first)

    with pytest.raises(RuntimeError, match="cannot be changed"):
        queues.kubectl("replace", "--filename", "-", stdin=str(queues.manifest(**second)))
