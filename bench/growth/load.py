"""Requests of a given size for a given number of threads. As a program, a worker that handles a number of them."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from bench.growth.point import BATCH
from sharded_queue import Handler, Queue, RedisCoordinator, RedisOptions, RedisStorage, Route, Worker, connect, settings

AT_ONCE_BYTES = 4_000_000
"""Bodies in one call of `register`, unless that were more requests than it takes."""
CONCURRENCY = 128
SHARDS_PER_NODE = 4
OVERHEAD = 12
"""Bytes of a body beside its text: brackets, quotes, a comma and a number of six digits."""


class Body(NamedTuple):
    number: int
    text: str


class Grown(Handler):
    """Notes when its process begins to handle."""

    name = "bench.grown"
    spread = 1
    begun = 0.0

    @classmethod
    async def route(cls, *requests: Body) -> list[Route]:
        return [Route(request.number % cls.spread) for request in requests]

    async def perform(self, *requests: Body) -> None:
        Grown.begun = Grown.begun or time.monotonic()


def handler(nodes: int) -> type[Handler]:
    """With shards, where there are several nodes to spread over."""
    return type("Grown", (Grown,), {"shards": 1 if nodes == 1 else SHARDS_PER_NODE * nodes, "name": Grown.name})


def options(addresses: list[str]) -> RedisOptions:
    return RedisOptions(tuple(addresses), mode="Cluster" if len(addresses) > 1 else "Standalone", timeout_seconds=120.0)


def bodies(requests: int, size: int) -> Iterator[list[Body]]:
    text = "x" * max(0, size - OVERHEAD)
    step = max(1, min(settings.register_limit, AT_ONCE_BYTES // size))
    for at in range(0, requests, step):
        yield [Body(number, text) for number in range(at, min(at + step, requests))]


async def register(addresses: list[str], threads: int, requests: int, size: int) -> float:
    """Requests a second, without the time to make them."""
    client, seconds = connect(options(addresses)), 0.0
    queue, Grown.spread = Queue(RedisStorage(client)), threads
    kind = handler(len(addresses))
    for part in bodies(requests, size):
        begin = time.perf_counter()
        await queue.register(kind, *part)
        seconds += time.perf_counter() - begin
    await client.aclose()
    return requests / seconds


async def handle(addresses: list[str], count: int) -> None:
    """Handle *count* requests, and print when that began and ended, and the CPU that it took."""
    client = connect(options(addresses))
    settings.worker_concurrency, settings.worker_batch_size = CONCURRENCY, BATCH
    worker = Worker(RedisCoordinator(client), Queue(RedisStorage(client)), handlers=[handler(len(addresses))])
    cpu = time.process_time()
    handled = await worker.loop(count)
    ended = time.monotonic()
    cpu_us = (time.process_time() - cpu) * 1e6
    print(json.dumps({"handled": handled, "begun": Grown.begun, "ended": ended, "cpu_us": cpu_us}))
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(handle(sys.argv[2].split(","), int(sys.argv[1])))
