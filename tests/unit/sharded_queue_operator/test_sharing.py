"""A handler that two resources name is reported on both."""

from typing import Any

from sharded_queue_operator.controller.sharing import Sharing
from sharded_queue_operator.resource.spec import Resource, parsed


def resource(name: str, *handlers: str, namespace: str = "shop", **redis: Any) -> Resource:
    return parsed(
        {
            "apiVersion": "shardedqueue.dev/v1alpha1",
            "kind": "ShardedQueue",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {
                "redis": {"addresses": ["redis.shop:6379"], **redis},
                "handlers": [{"name": handler} for handler in handlers],
                "worker": {"image": "i", "modules": ["m"]},
            },
        }
    )


def test_a_handler_that_two_resources_name_is_reported_on_both() -> None:
    sharing, first, second = Sharing(), resource("first", "a", "b"), resource("second", "b")
    sharing.claim(first)
    assert sharing.condition(first).status == "False"
    sharing.claim(second)

    assert sharing.condition(first).message.startswith("handler b is scaled by the ShardedQueue second too")
    assert sharing.condition(second).message.startswith("handler b is scaled by the ShardedQueue first too")


def test_another_redis_or_prefix_holds_other_requests() -> None:
    sharing, ours = Sharing(), resource("ours", "a")
    for other in (resource("x", "a", addresses=["other:1"]), resource("y", "a", keyPrefix="p_"), ours):
        sharing.claim(other)

    assert sharing.condition(ours).status == "False"


def test_a_resource_that_is_gone_or_changed_shares_nothing() -> None:
    sharing, ours = Sharing(), resource("ours", "a")
    for other in (resource("x", "a"), resource("y", "a"), ours):
        sharing.claim(other)
    sharing.forget(resource("x", "a").name)
    sharing.claim(resource("y", "c"))

    assert sharing.condition(ours).status == "False"


def test_another_tenant_is_not_named() -> None:
    sharing, ours = Sharing(), resource("ours", "a")
    sharing.claim(ours)
    sharing.claim(resource("secret-project", "a", namespace="other"))

    assert "secret-project" not in sharing.condition(ours).message
    assert "a ShardedQueue of another namespace" in sharing.condition(ours).message
