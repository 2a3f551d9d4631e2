"""What a worker process does until it asks for threads: it starts while its first request waits."""

import asyncio
import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from redis.asyncio import Redis

import sharded_queue
from sharded_queue import Handler, Queue, RedisStorage
from sharded_queue.backends.redis.scripts import digest
from tools.redis_proxy import LookProxy
from tools.redis_server import RedisServer

pytestmark = pytest.mark.redis

MODULE = """
import gc
import json
import sys

from sharded_queue import Handler

class Tell(Handler):
    name = "start.tell"

    async def perform(self, *requests: int):
        print(json.dumps([list(sys.modules), gc.isenabled()]), flush=True)
"""
NOT_YET = {
    "h11",
    "jinja2",
    "kopf",
    "kubernetes",
    "prometheus_client",
    "pydantic",
    "rich",
    "sharded_queue.backends.memory",
    "sharded_queue.admin.answers",
    "sharded_queue.cli.output",
    "sharded_queue.monitoring.metrics",
    "sharded_queue.testing",
    "sharded_queue.web",
    "sharded_queue_operator",
    "starlette",
    "uvicorn",
}


class Tell(Handler):
    name = "start.tell"

    async def perform(self, *requests: int) -> None: ...


class Start(NamedTuple):
    """The commands that a worker sent until it asked for threads, and what its handler found then."""

    commands: list[bytes]
    modules: set[str]
    collects_garbage: bool


@pytest.fixture(scope="module")
def start(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Start:
    folder = tmp_path_factory.mktemp("start")
    (folder / "telling.py").write_text(MODULE)
    return asyncio.run(started(redis_server.port, folder))


async def started(port: int, folder: Path) -> Start:
    async with Redis(port=port) as redis:
        await redis.flushall()
        storage = RedisStorage(redis)
        await storage.observe(Tell.all_shards(), 0)  # has Redis load the script
        await Queue(storage).register(Tell, 1)
    async with LookProxy(port, digest("bind").encode()) as proxy:
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(Path(sharded_queue.__file__).parents[1]),
            "QUEUE_REDIS_ADDRESS": f"127.0.0.1:{proxy.port}",
            "QUEUE_METRICS_PORT": "0",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sharded_queue", "worker", "telling"),
            cwd=folder,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout
        modules, collects_garbage = json.loads(await process.stdout.readline())
        process.terminate()
        await process.wait()
        return Start(proxy.commands, set(modules), collects_garbage)


def test_nothing_is_imported_that_the_first_threads_do_not_need(start: Start) -> None:
    assert start.modules & NOT_YET == set()


def test_a_worker_asks_for_threads_after_two_questions(start: Start) -> None:
    """Whether Redis answers with data of this format, and whether it keeps them; HELLO and CLIENT are redis-py's."""
    ours = [command for command in start.commands if command not in (b"HELLO", b"CLIENT")]

    assert ours == [b"EVALSHA", b"TIME", b"INFO", b"EVALSHA"]


def test_garbage_is_collected_again_once_a_worker_serves(start: Start) -> None:
    assert start.collects_garbage
