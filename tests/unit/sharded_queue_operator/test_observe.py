"""Where the operator looks for Redis."""

import pytest

from sharded_queue_operator.observe import qualified


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
    assert qualified(address, "shop") == asked
