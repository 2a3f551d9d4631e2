"""Redis over TLS: whom a client trusts, and what it says when it does not."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from sharded_queue import SettingsError, StorageUnavailable, settings
from sharded_queue.backends.redis.client import Client, RedisOptions, close, connect
from sharded_queue.backends.redis.link import Link
from sharded_queue.backends.redis.url import Mode
from tests.contract.backend import RedisBackend, handed
from tests.harness.certificates import Authority, TlsServer
from tests.harness.requirements import require_redis
from tools.redis_server import RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture
async def cluster_over_tls(tmp_path: Path, authority: Authority) -> AsyncIterator[Client]:
    """A Cluster of one node, which serves all slots."""
    require_redis()
    server = TlsServer(tmp_path / "node", authority, **{"cluster-enabled": "yes", "tls-cluster": "yes"})
    server.start()
    alone = connect(options(server))
    await alone.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    await close(alone)
    client = connect(options(server, mode="Cluster"))
    yield client
    await close(client)
    server.kill()


def options(server: TlsServer, **others: object) -> RedisOptions:
    return RedisOptions((f"localhost:{server.port}",), tls=True, **{"tls_ca": str(server.authority.file), **others})  # type: ignore[arg-type]


async def test_a_cluster_is_served_over_tls_and_renewed_by_the_twin(cluster_over_tls: Client) -> None:
    """Leases are renewed from an event loop of their own, whose client must speak TLS like ours."""
    batch, lost = await RedisBackend(cluster_over_tls).renew_by_a_clone()

    assert (handed(batch), lost) == (["1"], [])


async def refusal(tried: RedisOptions) -> str:
    settings.redis_retry = 0.1
    client = connect(tried)
    try:
        with pytest.raises(StorageUnavailable) as refused:
            await RedisBackend(client).register("a", "1")
        return str(refused.value)
    finally:
        await close(client)


async def test_an_authority_that_did_not_sign_is_refused(tls_server: TlsServer, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")

    said = await refusal(options(tls_server, tls_ca=str(other.file)))
    assert "the certificate of Redis is not trusted" in said
    assert "QUEUE_REDIS_TLS_CA" in said


async def test_a_name_that_the_certificate_does_not_have_is_refused(tmp_path: Path, authority: Authority) -> None:
    require_redis()

    class Elsewhere(TlsServer):
        hosts = "DNS:elsewhere.example"

    server = Elsewhere(tmp_path / "elsewhere", authority)
    server.start()

    assert "not valid for 'localhost'" in await refusal(options(server))
    server.kill()


def as_mode(address: str, mode: Mode, **others: Any) -> RedisOptions:
    return RedisOptions((address,), mode, sentinel_master="master" if mode == "Sentinel" else None, **others)


@pytest.mark.parametrize("mode", ["Standalone", "Sentinel", "Cluster"])
async def test_a_client_without_tls_is_told_that_the_port_speaks_it(tls_server: TlsServer, mode: Mode) -> None:
    address = f"localhost:{tls_server.port}"

    said = await refusal(as_mode(address, mode))
    assert f"{tls_server.port} speaks TLS: set QUEUE_REDIS_TLS=Verify" in said


@pytest.mark.parametrize("mode", ["Standalone", "Sentinel", "Cluster"])
async def test_a_client_with_tls_is_told_that_the_port_does_not_speak_it(
    redis_server: RedisServer, authority: Authority, mode: Mode
) -> None:
    """The server waits for the rest of what it takes for a command, and the client for an answer."""
    settings.redis_timeout = 0.3
    said = await refusal(as_mode(redis_server.address, mode, tls=True, tls_ca=str(authority.file), timeout_seconds=0.3))

    assert f"{redis_server.port} speaks Redis without TLS: set QUEUE_REDIS_TLS=Disabled, or give the port" in said


async def test_a_server_that_answers_is_not_guessed_at(redis_server: RedisServer) -> None:
    """Each refusal took a second more, for a link of a client that another link had connected."""
    async with Redis(host="127.0.0.1", port=redis_server.port) as redis:
        await Link(redis).send("a", "RPUSH", "a", "1", seconds=5)
        before = (await redis.info("stats"))["total_connections_received"]
        link = Link(redis)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await link.send("a", "GET", "a", seconds=5)

        assert await link.wrong_protocol() is None
        assert (await redis.info("stats"))["total_connections_received"] == before


@pytest.mark.parametrize("has_tls", [False, True])
async def test_a_port_that_speaks_nothing_is_not_guessed_at(authority: Authority, has_tls: bool) -> None:
    settings.redis_timeout = 0.3
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        tls_ca = str(authority.file) if has_tls else None
        said = await refusal(RedisOptions((address,), tls=has_tls, tls_ca=tls_ca, timeout_seconds=0.3))

    assert "no answer of Redis" in said
    assert "speaks" not in said


def test_an_authority_that_cannot_be_read_is_named() -> None:
    with pytest.raises(SettingsError, match=r"redis_tls_ca '/nowhere/ca.crt' cannot be read: .*No such file"):
        connect(RedisOptions(tls=True, tls_ca="/nowhere/ca.crt"))


def test_an_authority_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")

    with pytest.raises(SettingsError, match=r"redis_tls_ca .*ca.crt' cannot be read"):
        connect(RedisOptions(tls=True, tls_ca=str(tmp_path / "ca.crt")))


def test_an_authority_without_tls_is_refused() -> None:
    """Whoever names an authority means to encrypt."""
    with pytest.raises(SettingsError, match="redis_tls_ca is set and redis_tls is Disabled"):
        connect(RedisOptions(tls_ca="/etc/ca.crt"))
