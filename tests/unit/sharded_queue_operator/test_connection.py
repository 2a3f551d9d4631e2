"""Which Redis a resource means."""

import pytest

from sharded_queue_operator.polling.connection import RedisTarget
from sharded_queue_operator.resource.spec import parsed


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("redis:6379", "redis.shop.svc:6379"),
        ("redis.other:6379", "redis.other:6379"),
        ("10.0.0.1:6379", "10.0.0.1:6379"),
        ("[fd00::1]:6379", "[fd00::1]:6379"),
        ("localhost:6379", "localhost:6379"),
    ],
)
def test_a_short_name_means_the_service_beside_the_resource(address: str, asked: str) -> None:
    body = {
        "apiVersion": "shardedqueue.dev/v1alpha1",
        "kind": "ShardedQueue",
        "metadata": {"namespace": "shop", "name": "n"},
        "spec": {
            "redis": {"addresses": [address]},
            "handlers": [{"name": "a"}],
            "scaleTargetRef": {"name": "mine"},
        },
    }

    assert RedisTarget.of(parsed(body)).redis.addresses == (asked,)
