"""The public face: what may be imported from the package, and nothing by accident."""

import subprocess
import sys

import pytest

import sharded_queue

PROMISED = {
    "Handler",
    "Queue",
    "Route",
    "Worker",
    "Storage",
    "Coordinator",
    "RuntimeStorage",
    "RuntimeCoordinator",
    "RedisStorage",
    "RedisCoordinator",
    "RedisOptions",
    "connect",
    "settings",
}


def test_all_that_was_promised_is_exported() -> None:
    assert set(sharded_queue.__all__) >= PROMISED


@pytest.mark.parametrize("name", sharded_queue.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(sharded_queue, name) is not None


def test_the_exported_names_are_sorted() -> None:
    assert list(sharded_queue.__all__) == sorted(sharded_queue.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        _ = sharded_queue.Nothing  # type: ignore[attr-defined]


@pytest.mark.slow
def test_redis_is_not_imported_before_it_is_asked_for() -> None:
    """A user in memory need not have it installed."""
    script = "import sys, sharded_queue; sys.exit('redis' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
