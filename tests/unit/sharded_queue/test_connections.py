"""Clients from discrete fields, and a link that notices what happens to it."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from sharded_queue import SettingsError
from sharded_queue.connections import Link, RedisOptions, _idle_of, connect, parse_address
from sharded_queue.scripts import may_pass


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


async def test_a_cancellation_that_the_client_forgot_still_ends_the_command() -> None:
    """redis-py may connect within `wait_for`, which on Python 3.11 swallows a cancellation that comes as it ends."""

    class ForgetfulConnection:
        is_connected, socket_timeout = True, None

        async def send_packed_command(self, command: bytes) -> None:
            sending.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return

        async def read_response(self, **_: Any) -> Any:
            await asyncio.Event().wait()

        async def disconnect(self, nowait: bool = False) -> None:
            self.is_connected = False

    sending = asyncio.Event()
    client = Redis()
    link = Link(client)
    _idle_of[client] = {None: [ForgetfulConnection()]}
    link._give_back = lambda *_: asyncio.sleep(0)  # type: ignore[method-assign]
    blocking = asyncio.create_task(link.send("key", "BLPOP", "key", "0", seconds=60))
    async with asyncio.timeout(2):
        await sending.wait()
        blocking.cancel()
        await asyncio.gather(blocking, return_exceptions=True)

    assert blocking.cancelled()


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
    assert may_pass(error)


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
    assert not may_pass(error)
