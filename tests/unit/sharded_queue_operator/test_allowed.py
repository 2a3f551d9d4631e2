"""Which servers the operator connects to."""

import pytest

from sharded_queue_operator.allowed import Allowed
from sharded_queue_operator.settings import Settings


@pytest.mark.parametrize("address", ["redis.shop.svc:6379", "10.0.0.1:6379", "[fd00::1]:6379", "127.0.0.1:1"])
def test_every_server_is_allowed_by_default(address: str) -> None:
    assert Allowed().covers(address)


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "[fe80::1%eth0]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"]
)
def test_link_local_addresses_are_never_allowed(host: str) -> None:
    """Clouds serve a machine's credentials there."""
    assert not Allowed().covers(f"{host}:80")
    assert not Allowed((f"{host}:80",)).covers(f"{host}:80")


@pytest.mark.parametrize(
    ("address", "is_covered"),
    [
        ("redis.shop.svc:6379", True),
        ("redis.shop.svc:6380", False),
        ("redis.example:6380", True),
        ("redis.example.evil:6380", False),
        ("10.0.0.1:6379", False),
    ],
)
def test_patterns_match_whole_addresses(address: str, is_covered: bool) -> None:
    assert Allowed(("*.svc:6379", "redis.example:6380")).covers(address) is is_covered


def test_a_peer_is_allowed_by_its_name_or_by_its_address() -> None:
    allowed = Allowed(("redis.shop.svc:6379", "10.0.0.*:6379", "[[]fd00::*]:6379"))

    assert allowed.covers_peer("redis.shop.svc:6379", "192.0.2.7", 6379)
    assert allowed.covers_peer("node-1:6379", "10.0.0.7", 6379)
    assert allowed.covers_peer("node-1:6379", "fd00::7", 6379)
    assert not allowed.covers_peer("node-1:6379", "192.0.2.7", 6379)
    assert not allowed.covers_peer("redis.shop.svc:6379", "169.254.169.254", 6379)


@pytest.mark.parametrize(
    ("address", "is_covered"),
    [
        ("redis.shop.svc:6379", True),
        ("redis.shop.svc:6380", True),
        ("10.0.0.7:6379", False),
        ("redis.svc.evil:1", False),
    ],
)
def test_services_alone_are_allowed_by_default(address: str, is_covered: bool) -> None:
    assert Allowed(Settings().allowed_redis).covers(address) == is_covered
