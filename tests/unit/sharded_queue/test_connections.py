"""Clients from discrete fields, and a link that notices what happens to it."""

import asyncio
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import pytest
import redis
from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import NodesManager
from redis.asyncio.connection import SSLConnection
from redis.credentials import UsernamePasswordCredentialProvider
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from sharded_queue import RedisCoordinator, RedisStorage, SettingsError
from sharded_queue.backends.redis.client import RedisOptions, clone, connect, parse_address
from sharded_queue.backends.redis.link import Link, discover_cluster
from sharded_queue.backends.redis.scripts import is_transient


@pytest.mark.parametrize(
    ("address", "parts"),
    [("redis:6379", ("redis", 6379)), ("[::1]:7000", ("::1", 7000)), ("10.0.0.1:1", ("10.0.0.1", 1))],
)
def test_an_address_is_a_host_and_a_port(address: str, parts: tuple[str, int]) -> None:
    assert parse_address(address) == parts


@pytest.mark.parametrize(
    "address",
    [
        "",
        "redis",
        ":6379",
        "redis:",
        "redis:0",
        "redis:65536",
        "redis:x",
        "redis://h:1",
        "user@h:1",
        "h:1/0",
        "unix:///s:1",
    ],
)
def test_what_is_no_address_is_refused_by_name(address: str) -> None:
    with pytest.raises(SettingsError, match="redis_address"):
        parse_address(address)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (RedisOptions(addresses=()), "at least one"),
        (RedisOptions(addresses=("a:1", "b:2")), "needs redis_mode"),
        (RedisOptions(addresses=("a:1",), mode="Sentinel"), "redis_sentinel_master"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(options: RedisOptions, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        connect(options)


def test_options_never_show_a_password() -> None:
    assert "hunter2" not in repr(RedisOptions(password="hunter2", sentinel_password="hunter2"))


class Forgetful:
    """A connection, and a pool of it, that forgets the cancellation of one of its steps."""

    is_connected, socket_timeout = True, None

    def __init__(self, step: str) -> None:
        self.step, self.reached = step, asyncio.Event()

    async def _take(self, step: str) -> None:
        if step == self.step:
            self.reached.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return

    async def get_connection(self) -> "Forgetful":
        await self._take("connect")
        return self

    async def send_packed_command(self, command: bytes) -> None:
        await self._take("send")

    async def read_response(self, **_: Any) -> Any:
        await asyncio.Event().wait()

    async def disconnect(self, nowait: bool = False) -> None:
        self.is_connected = False

    async def release(self, connection: "Forgetful") -> None: ...


@pytest.mark.parametrize("step", ["connect", "send"])
async def test_a_cancellation_that_the_client_forgot_still_ends_the_command(step: str) -> None:
    """redis-py may connect within `wait_for`, which on Python 3.11 swallows a cancellation that comes as it ends."""
    client, connection = Redis(), Forgetful(step)
    client.connection_pool = connection  # type: ignore[assignment]
    blocking = asyncio.create_task(Link(client).send("key", "BLPOP", "key", "0", seconds=60))
    async with asyncio.timeout(2):
        await connection.reached.wait()
        blocking.cancel()
        await asyncio.gather(blocking, return_exceptions=True)

    assert blocking.cancelled()
    assert not connection.is_connected


async def test_a_cancellation_that_was_forgotten_while_a_cluster_was_learned_still_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def initialize(*_: Any, **__: Any) -> None:
        learning.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    learning = asyncio.Event()
    client = connect(RedisOptions(("127.0.0.1:1",), mode="Cluster"))
    monkeypatch.setattr(NodesManager, "initialize", initialize)
    introducing = asyncio.create_task(discover_cluster(client, 60))
    async with asyncio.timeout(2):
        await learning.wait()
        introducing.cancel()
        await asyncio.gather(introducing, return_exceptions=True)

    assert introducing.cancelled()


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("cut"),
        TimeoutError(),
        OSError("no route"),
        ResponseError("LOADING Redis is loading the dataset in memory"),
        ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
        ResponseError("READONLY You can't write against a read only replica."),
        ResponseError("CLUSTERDOWN Hash slot not served"),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("WRONGPASS"),
        NoPermissionError("NOPERM no permissions to run the 'evalsha' command"),
        ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
    ],
    ids=str,
)
def test_what_was_refused_for_good_is_not_tried_again(error: Exception) -> None:
    assert not is_transient(error)


def test_a_twin_of_a_cluster_is_made_as_its_client_was() -> None:
    provider = UsernamePasswordCredentialProvider("worker", "words")
    client = RedisCluster("node", 7000, credential_provider=provider, require_full_coverage=False, ssl=True, protocol=3)
    made = clone(client)

    assert isinstance(made, RedisCluster)
    assert made.connection_kwargs["credential_provider"] is provider
    assert made.connection_kwargs["connection_class"] is SSLConnection
    assert made.connection_kwargs["protocol"] == 3
    assert not made.nodes_manager.require_full_coverage


@pytest.mark.parametrize("is_tls", [True, False])
def test_a_twin_behind_sentinels_is_made_as_its_client_was(is_tls: bool) -> None:
    sentinel = Sentinel([("sentinel", 26379)], 1, {"ssl": is_tls, "password": "words"})
    client = sentinel.master_for("queues", ssl=is_tls, check_connection=True, max_connections=7)
    pool = clone(client).connection_pool  # type: ignore[union-attr]
    asking = pool.sentinel_manager.sentinels[0].connection_pool

    assert issubclass(pool.connection_class, SSLConnection) is is_tls
    assert issubclass(asking.connection_class, SSLConnection) is is_tls
    assert (pool.max_connections, pool.check_connection, pool.sentinel_manager.min_other_sentinels) == (7, True, 1)
    assert asking.connection_kwargs["password"] == "words"


@pytest.mark.parametrize(
    "address", ["redis://u:hunter2@h", "u:hunter2@h:1", "redis://u:hunter2", "redis://h/x?password=hunter2"]
)
def test_an_address_with_a_password_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(SettingsError, match="redis_address") as refused:
        parse_address(address)

    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(RedisOptions((address,)))


def test_the_parts_of_options_show_no_password_and_serve_all_the_same() -> None:
    options = RedisOptions(password="hunter2", sentinel_password="hunter2")

    assert "hunter2" not in repr(asdict(options))
    assert "hunter2" not in repr(replace(options, mode="Cluster").password)
    assert options.password == "hunter2"


@pytest.mark.parametrize("keeper", [RedisStorage, RedisCoordinator])
def test_a_client_that_is_not_asynchronous_is_refused_with_what_to_do(keeper: Any) -> None:
    with pytest.raises(SettingsError, match=r"redis\.asyncio is needed, not a redis\.client\.Redis"):
        keeper(redis.Redis())
