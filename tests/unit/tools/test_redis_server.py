"""Servers of the tests find their ports on a machine where others take ports as well."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.requirements import require_redis
from tools import ports, redis_server
from tools.ports import BUS, free_port
from tools.redis_server import RedisServer

CLUSTER = {"cluster-enabled": "yes"}


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", free_port() + BUS)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ports that servers choose first, before free ones."""
    first: list[int] = []
    monkeypatch.setattr(redis_server, "free_port", lambda: first.pop() if first else free_port())
    return first


@pytest.mark.parametrize("range_of_the_system", ["32768 60999", "20000 40000", "1024 65535"])
def test_a_port_is_none_that_the_system_hands_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, range_of_the_system: str
) -> None:
    (tmp_path / "range").write_text(range_of_the_system)
    monkeypatch.setattr(ports, "EPHEMERAL", tmp_path / "range")
    low, high = map(int, range_of_the_system.split())
    candidates = ports.candidates.__wrapped__()

    outside = [port for port in candidates if not any(low <= each <= high for each in (port, port + BUS))]
    assert max(candidates) + BUS <= ports.HIGHEST
    assert outside == candidates or (low, high) == (1024, 65535)


def test_a_port_is_free_together_with_its_bus_port(taken: int) -> None:
    assert not ports.are_free(taken)
    assert not ports.are_free(taken - BUS)


@pytest.mark.redis
@pytest.mark.parametrize(("of_the_bus", "options"), [(0, {}), (BUS, CLUSTER)], ids=["its own", "its bus"])
@pytest.mark.slow
def test_a_server_whose_port_is_taken_starts_on_another(
    taken: int, chosen: list[int], tmp_path: Path, of_the_bus: int, options: dict[str, str]
) -> None:
    require_redis()
    chosen.append(taken - of_the_bus)
    server = RedisServer(tmp_path, **options).start()
    try:
        assert server.port != taken - of_the_bus
        assert server.answers()
    finally:
        server.kill()


@pytest.mark.redis
@pytest.mark.slow
def test_a_server_whose_port_was_told_to_others_keeps_it(taken: int, chosen: list[int], tmp_path: Path) -> None:
    require_redis()
    chosen.append(taken)
    server = RedisServer(tmp_path)
    assert server.address == f"127.0.0.1:{taken}"

    with pytest.raises(RuntimeError, match="Address already in use"):
        server.start()
