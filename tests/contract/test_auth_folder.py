"""A password that changes under running processes, as a Secret that is rotated does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from sharded_queue import Handler, Queue, RedisCoordinator, RedisStorage, Worker
from sharded_queue.backends.redis.client import RedisOptions, close, connect
from sharded_queue.errors import StorageUnavailable
from tools.redis_server import RedisServer

pytestmark = pytest.mark.redis


async def rotate(server: RedisServer, old: str, new: str) -> None:
    """The server takes the new password only, and ends every connection."""
    async with Redis(port=server.port, password=old) as admin:
        await admin.config_set("requirepass", new)
        await admin.client_kill_filter(_type="normal", skipme=True)


async def test_a_password_that_is_rotated_is_followed(own_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    handled: list[int] = []

    class Job(Handler):
        async def perform(self, *requests: int) -> None:
            handled.extend(requests)

    server = own_redis(requirepass="old")
    (tmp_path / "password").write_text("old\n")
    client = connect(RedisOptions((server.address,), auth_folder=str(tmp_path)))
    queue = Queue(RedisStorage(client))
    await queue.register(Job, 1)
    (tmp_path / "password").write_text("new")
    await rotate(server, "old", "new")
    await queue.register(Job, 2)
    await Worker(RedisCoordinator(client), queue, handlers=[Job]).loop(2)

    assert handled == [1, 2]
    await close(client)


async def test_a_user_and_a_password_may_be_files(own_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    server = own_redis()
    async with Redis(port=server.port) as admin:
        await admin.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all")
    (tmp_path / "username").write_text("worker")
    (tmp_path / "password").write_text("secret")
    client: Any = connect(RedisOptions((server.address,), auth_folder=str(tmp_path)))

    assert await client.execute_command("ACL", "WHOAMI") == b"worker"
    await close(client)


async def test_a_folder_without_files_is_no_user(own_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    client = connect(RedisOptions((own_redis().address,), auth_folder=str(tmp_path)))

    assert await client.ping()
    await close(client)


async def test_a_file_that_cannot_be_read_is_named(own_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    (tmp_path / "password").mkdir()
    client = connect(RedisOptions((own_redis().address,), auth_folder=str(tmp_path)))

    with pytest.raises(StorageUnavailable, match="password cannot be read: IsADirectoryError"):
        await RedisStorage(client).verify()
    await close(client)


def test_what_is_given_goes_before_the_folder(tmp_path: Path) -> None:
    client: Any = connect(RedisOptions(password="given", auth_folder=str(tmp_path)))

    assert client.connection_pool.connection_kwargs["password"] == "given"
    assert client.connection_pool.connection_kwargs.get("credential_provider") is None
