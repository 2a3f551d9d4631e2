"""
What this release keeps in Redis, of every kind, as the commands that make it again: `make stored-data`.

Committed with each release, it lets all later ones prove that they read it (tests/contract/test_stored_data.py).
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis.asyncio import Redis

from sharded_queue import Coordinator, Handler, KeyRoute, Queue, RedisCoordinator, RedisStorage, Route, Storage
from sharded_queue.coordinator import BindRequest
from sharded_queue.storage import Cause, Failure
from sharded_queue.tube import Shard
from tools.redis_server import RedisServer

FOLDER = Path(__file__).parents[1] / "tests" / "contract" / "data"
ORDERS, KEYS, PAUSED = Shard("stored.Orders"), Shard("stored.Keys"), Shard("stored.Paused")
LEASE_SECONDS = 15
MOMENT = re.compile(r"(?<!\d)(1\d{12})((?:\d{3})?)(?!\d)")
"""Milliseconds since 1970, or microseconds."""
YEAR_MS = 365 * 86_400_000
"""So that leases, back-offs and delays have ended when the data are read."""


def main() -> None:
    with TemporaryDirectory() as folder:
        server = RedisServer(Path(folder)).start()
        try:
            lines = asyncio.run(_recorded(server))
        finally:
            server.kill()
    path = FOLDER / f"release-{version('sharded-queue')}.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    sys.stdout.write(f"written: {path}\n")


async def _recorded(server: RedisServer) -> list[list[str]]:
    async with Redis(host="127.0.0.1", port=server.port) as redis:
        await store_everything(redis)
        return [line async for line in commands(redis)]


async def store_everything(redis: Redis) -> None:
    """Every kind of key that there is. A request is named THREAD-PRIORITY-NUMBER, or KEY-NUMBER."""
    storage, coordinator = RedisStorage(redis), RedisCoordinator(redis)
    coordinator.attach(storage)
    queue = Queue(storage)

    class Orders(Handler[str]):
        name = ORDERS.handler
        route = classmethod(_by_name)

        async def perform(self, *requests: str) -> None: ...

    await queue.register(Orders, "dead-0-1")
    await _fail(storage, coordinator, "RuntimeError: no\nTraceback (most recent call last):\n  RuntimeError: no", None)
    await queue.register(Orders, "failing-0-1", "failing-0-2")
    await _fail(storage, coordinator, "RuntimeError: down", 60)
    await queue.register(Orders, "held-0-1", "held-0-2", "held-0-3")
    await coordinator.bind(ORDERS, BindRequest("w/1", 1, 3, LEASE_SECONDS, 0.0))
    await queue.register(Orders, "a-0-1", "a-0-2", "a-1-1", "a-1-2", "a-0-3", headers={"trace": "1"})
    await queue.register(Orders, "dropped-0-1", "b-0-1", "b-0-2", "b-0-3")
    await storage.drop(ORDERS, "dropped", Cause("someone", "not wanted"))
    await storage.pause(ORDERS, "b", True)
    await queue.register(Orders, "once-0-1", deduplicate_seconds=86_400)
    await queue.register(Orders, "late-0-1", "late-0-2", delay_seconds=60)
    await queue.schedule(Orders, "pulse-0-1", name="pulse", every_seconds=3600)
    await queue.schedule(Orders, "clock-0-1", name="clock", cron="0 9 * * 1-5", timezone="Europe/Berlin")

    class Keyed(Handler[str]):
        name = KEYS.handler
        threads = 4

        @classmethod
        async def route(cls, *requests: str) -> list[KeyRoute]:
            return [KeyRoute(request.rpartition("-")[0]) for request in requests]

        async def perform(self, *requests: str) -> None: ...

    await queue.register(Keyed, *(f"k{key}-{number}" for number in (1, 2) for key in range(6)))
    await queue.reshard(Keyed, 6)
    await queue.register(Keyed, *(f"k{key}-3" for key in range(6)))

    class Paused(Orders):
        name = PAUSED.handler

    await queue.register(Paused, "p-0-1", "p-0-2")
    await storage.pause(PAUSED, None, True)
    await coordinator.cordon(ORDERS, ["gone"], 3600)


async def _by_name(cls: type[Handler[str]], *requests: str) -> list[Route]:
    return [Route(request.split("-")[0], int(request.split("-")[1])) for request in requests]


async def _fail(storage: Storage, coordinator: Coordinator, error: str, delay: float | None) -> None:
    """A worker tries the first request that is ready, in vain; without *delay* it goes to the dead letters."""
    (batch,) = (await coordinator.bind(ORDERS, BindRequest("w/1", 1, 1, LEASE_SECONDS, 0.0))).batches
    await storage.fail(Failure(batch.lease, batch.tube.priority, batch.first, batch.attempt, error, delay))
    await coordinator.release([batch.lease])


async def commands(redis: Redis) -> AsyncIterator[list[str]]:
    """The commands that make the keys of a Redis again, without those that it forgets after minutes by itself."""
    for key in sorted(await redis.keys("*")):
        if await redis.ttl(key) >= 0:
            continue
        match await redis.type(key):
            case b"string":
                words = ["SET", key, await redis.get(key)]
            case b"list":
                words = ["RPUSH", key, *await redis.lrange(key, 0, -1)]
            case b"set":
                words = ["SADD", key, *sorted(await redis.smembers(key))]
            case b"hash":
                words = ["HSET", key, *_flat(sorted((await redis.hgetall(key)).items()))]
            case b"zset":
                scored: Any = await redis.zrange(key, 0, -1, withscores=True)
                words = ["ZADD", key, *_flat((score, name) for name, score in scored)]
            case kind:
                raise TypeError(f"{key!r} is a {kind!r}")
        yield [_text(word) for word in words]


def _flat(pairs: Any) -> list[Any]:
    return [part for pair in pairs for part in pair]


def _text(word: Any) -> str:
    """Each byte as the character of its number, so that JSON keeps all of them; every time a year earlier."""
    text = repr(word).removesuffix(".0") if isinstance(word, float) else word
    text = text.decode("latin-1") if isinstance(text, bytes) else text
    return MOMENT.sub(lambda found: f"{int(found[1]) - YEAR_MS}{found[2]}", text)


if __name__ == "__main__":
    main()
