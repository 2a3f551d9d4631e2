from typing import Any

import pytest

from sharded_queue.settings import Settings
from sharded_queue.tube import Shard
from sharded_queue_operator.errors import BadSpec
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import PAUSE, Scaling, parsed


def body(**spec: Any) -> dict[str, Any]:
    least = {
        "redis": {"addresses": ["redis:6379"]},
        "handlers": [{"name": "notifications.NotifyHandler"}],
        "worker": {"image": "registry.example/notifications:1.4", "modules": ["notifications"]},
    }
    return {
        "apiVersion": "shardedqueue.dev/v1alpha1",
        "kind": "ShardedQueue",
        "metadata": {"namespace": "shop", "name": "notifications", "uid": "u", "generation": 3},
        "spec": {key: value for key, value in (least | spec).items() if value is not None},
    }


def test_all_but_three_parts_have_defaults() -> None:
    resource = parsed(body())

    assert resource.name == Name("shop", "notifications")
    assert resource.generation == 3
    assert resource.spec.redis.mode == "Standalone"
    assert resource.spec.shards == [Shard("notifications.NotifyHandler")]
    assert (resource.policy.min_replicas, resource.policy.max_replicas) == (0, 10)
    assert (resource.policy.drain, resource.policy.window) == (10, 60)


def test_what_is_written_becomes_the_policy() -> None:
    scaling = {
        "minReplicas": 2,
        "maxReplicas": 20,
        "threadsPerReplica": 4,
        "targetDrainSeconds": 90,
        "pollPeriodSeconds": 30,
        "fallback": {"policy": "AtLeast", "replicas": 5},
    }
    resource = parsed(
        body(
            scaling=scaling,
            suspend=True,
            replicas=7,
            handlers=[{"name": "a", "microsecondsPerRequest": 500_000, "shards": 2}],
        )
    )

    policy = resource.policy
    assert (policy.min_replicas, policy.max_replicas, policy.threads_per_replica) == (2, 20, 4)
    assert (policy.drain_seconds, policy.window, policy.stale_seconds) == (90, 90, 90)
    assert (policy.fallback_replicas, policy.is_suspended, policy.pinned) == (5, True, 7)
    assert policy.seconds_per_request == {"a": 0.5}
    assert resource.spec.shards == [Shard("a", 0, 2), Shard("a", 1, 2)]


def test_an_earlier_spelling_of_the_seconds_is_read_too() -> None:
    """It was dropped in silence, and the operator learned the time anew."""
    both = {"secondsPerRequest": 9, "microsecondsPerRequest": 500_000}
    resource = parsed(body(handlers=[{"name": "a", "secondsPerRequest": 0.02}, {"name": "b", **both}, {"name": "c"}]))

    assert resource.policy.seconds_per_request == {"a": 0.02, "b": 0.5}


def test_keys_of_a_prefix_stand_apart() -> None:
    keys = parsed(body(redis={"addresses": ["redis:6379"], "keyPrefix": "shop:"})).spec.redis.keys

    assert (keys.tubes, keys.binds) == ("shop:tube_", "shop:lock_")


@pytest.mark.parametrize(
    ("pause", "rise", "fall"), [("up", False, True), ("down", True, False), ("both", False, False)]
)
def test_an_annotation_pauses_a_direction(pause: str, rise: bool, fall: bool) -> None:
    manifest = body()
    manifest["metadata"]["annotations"] = {PAUSE: pause}

    policy = parsed(manifest).policy
    assert (policy.may_rise, policy.may_fall) == (rise, fall)


REDIS = {"addresses": ["redis:6379"]}


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"redis": None}, "missing required field `redis`"),
        ({"handlers": []}, "length >= 1"),
        ({"handlers": [{"name": "9x"}]}, "matching regex"),
        ({"handlers": [{"name": "x\n"}]}, "matching regex"),
        ({"handlers": [{"name": "a"}, {"name": "a"}]}, "a name occurs twice"),
        ({"handlers": [{"name": "a", "shards": 65}]}, "<= 64"),
        ({"worker": None}, "exactly one of worker and scaleTargetRef"),
        ({"scaleTargetRef": {"name": "workers"}}, "exactly one of worker and scaleTargetRef"),
        ({"worker": {"image": "a", "modules": ["a-b"]}}, "matching regex"),
        ({"worker": {"image": "a", "modules": ["a"], "template": []}}, "Expected `object`"),
        ({"scaling": {"minReplicas": 3, "maxReplicas": 2}}, "minReplicas must not be greater than maxReplicas"),
        ({"scaling": {"maxReplicas": "ten"}}, "Expected `int`"),
        ({"scaling": {"maxreplicas": 10}}, "unknown field `maxreplicas`"),
        ({"scaling": {"fallback": {"policy": "AtLeast"}}}, "fallback.replicas is required"),
        ({"scaling": {"fallback": {"replicas": 3}}}, "fallback.replicas is required"),
        ({"scaling": {"fallback": {"policy": "AtLeast", "replicas": 11}}}, "must not be greater than maxReplicas"),
        ({"redis": {"addresses": ["redis"]}}, "matching regex"),
        ({"redis": {"addresses": ["redis://:secret@redis:6379"]}}, "matching regex"),
        ({"redis": {"addresses": ["redis:70000"]}}, "a port is at most 65535"),
        ({"redis": {"addresses": ["a:1", "b:1"]}}, "mode Standalone takes one address"),
        ({"redis": REDIS | {"mode": "Sentinel"}}, "sentinelMasterName is required"),
        ({"redis": REDIS | {"sentinelMasterName": "m"}}, "sentinelMasterName is required"),
        ({"redis": REDIS | {"tls": {"caSecretName": "ca"}}}, "caSecretName needs mode Verify"),
        ({"redis": REDIS | {"keyPrefix": "{tag}"}}, "matching regex"),
        ({"drain": {"timeoutSeconds": 0}}, ">= 1"),
        ({"replicas": -1}, ">= 0"),
        ({"pinSeconds": 0}, ">= 1"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(spec: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadSpec, match=sentence):
        parsed(body(**spec))


def test_something_else_is_not_a_queue() -> None:
    with pytest.raises(BadSpec, match="this is v1 ConfigMap"):
        parsed({"apiVersion": "v1", "kind": "ConfigMap"})


def test_a_name_too_long_for_its_pods_is_refused() -> None:
    manifest = body()
    manifest["metadata"]["name"] = "n" * 53

    with pytest.raises(BadSpec, match="more than 52 characters"):
        parsed(manifest)


@pytest.mark.parametrize("pause", ["yes", "", "Both", ["up"], {}])
def test_an_unknown_pause_is_refused(pause: object) -> None:
    manifest = body()
    manifest["metadata"]["annotations"] = {PAUSE: pause}

    with pytest.raises(BadSpec, match="is up, down or both, not "):
        parsed(manifest)


def test_a_replica_has_as_many_threads_as_a_worker_without_an_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUEUE_WORKER_CONCURRENCY", raising=False)

    assert Scaling().threads_per_replica == Settings().worker_concurrency
