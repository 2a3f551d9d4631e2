"""A client made from a URL reaches the Redis that it names: its database, over TLS, behind a Sentinel, on a Cluster."""

import pytest
from redis.asyncio import Redis

from sharded_queue import RedisOptions, StorageUnavailable, settings
from sharded_queue.backends.redis.client import close, connect
from tests.contract.backend import RedisBackend, handed
from tests.harness.certificates import TlsServer
from tests.harness.redis_groups import MASTER, Nodes, Sentinels
from tools.redis_server import RedisServer

pytestmark = pytest.mark.redis


async def serve(options: RedisOptions) -> list[str]:
    """Register, bind and renew by a clone: what a producer, a worker and its renewer do."""
    client = connect(options)
    try:
        batch, lost = await RedisBackend(client).renew_by_a_clone()
        assert lost == []
        return handed(batch)
    finally:
        await close(client)


async def keys_of(port: int) -> dict[int, int]:
    """The number of keys in the databases 0 and 3."""
    found = {}
    for database in (0, 3):
        async with Redis(port=port, db=database) as redis:
            found[database] = await redis.dbsize()
    return found


async def test_a_database_of_a_single_server_holds_all_keys(redis: Redis, redis_server: RedisServer) -> None:
    assert await serve(RedisOptions.from_url(f"redis://{redis_server.address}/3")) == ["1"]

    keys = await keys_of(redis_server.port)
    assert keys[0] == 0
    assert keys[3] > 0


async def test_a_database_behind_a_sentinel_holds_all_keys(sentinels: Sentinels) -> None:
    """The sentinels themselves have none."""
    async with Redis(port=sentinels.master.port) as redis:
        await redis.flushall()

    assert await serve(RedisOptions.from_url(f"redis+sentinel://{sentinels.addresses[0]}/{MASTER}/3")) == ["1"]

    keys = await keys_of(sentinels.master.port)
    assert keys[0] == 0
    assert keys[3] > 0


async def test_tls_is_spoken_and_verified(over_tls: Redis, tls_server: TlsServer) -> None:
    url = f"rediss://localhost:{tls_server.port}/3"

    assert await serve(RedisOptions.from_url(url, tls_ca=str(tls_server.authority.file))) == ["1"]
    assert await over_tls.dbsize() == 0


async def test_a_cluster_is_reached_by_any_of_its_nodes(on_cluster: object, nodes: Nodes) -> None:
    assert await serve(RedisOptions.from_url(f"redis+cluster://{','.join(nodes.addresses)}")) == ["1"]


async def test_a_user_of_the_url_is_the_user_of_all_connections(redis: Redis, redis_server: RedisServer) -> None:
    await redis.execute_command("ACL", "SETUSER", "a@b", "on", ">p/:@%", "~*", "&*", "+@all")
    await redis.execute_command("ACL", "SETUSER", "default", "resetkeys")
    try:
        assert await serve(RedisOptions.from_url(f"redis://a%40b:p%2F%3A%40%25@{redis_server.address}")) == ["1"]
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", "allkeys")
        await redis.execute_command("ACL", "DELUSER", "a@b")


async def test_a_user_needs_one_more_right_for_a_database(as_users: object, users_server: RedisServer) -> None:
    """As `docs/redis.md` says."""
    settings.redis_retry = 0.1
    options = RedisOptions.from_url(f"redis://worker:change-me-worker@{users_server.address}/3")
    async with Redis(port=users_server.port, username="hands", password="hands") as hands:
        with pytest.raises(StorageUnavailable, match="select"):
            await serve(options)
        await hands.execute_command("ACL", "SETUSER", "worker", "+select")
        try:
            assert await serve(options) == ["1"]
        finally:
            await hands.execute_command("ACL", "SETUSER", "worker", "-select")
            await hands.flushall()


async def test_the_setting_names_the_redis_of_connect(redis: Redis, redis_server: RedisServer) -> None:
    settings.redis_url = f"redis://{redis_server.address}/3"  # type: ignore[assignment]

    assert await serve(RedisOptions.from_settings()) == ["1"]
    assert await redis.dbsize() == 0
