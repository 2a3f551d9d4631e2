"""Redis over TLS: whom a client trusts, and what it says when it does not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sharded_queue import SettingsError, StorageUnavailable, settings
from sharded_queue.backends.redis.client import Client, RedisOptions, close, connect
from tests.contract.backend import RedisBackend, handed
from tests.harness.certificates import Authority, TlsServer
from tests.harness.requirements import require_redis

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


async def test_a_client_without_tls_is_told_what_to_do(tls_server: TlsServer) -> None:
    said = await refusal(RedisOptions((f"localhost:{tls_server.port}",)))

    assert "if Redis speaks TLS there, set QUEUE_REDIS_TLS=Verify" in said


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
