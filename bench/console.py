"""
`python -m bench.console`: what a console costs with many open pages on many threads.

Prints how often Redis is asked, how long a first page takes, how many bytes an update has, and what the console's
process takes. The console is the real one, before a real redis-server; the pages are open connections.
"""

import argparse
import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import httpx
import uvicorn
from redis.asyncio import Redis

from sharded_queue import Handler, Queue, RedisStorage, Route, settings
from sharded_queue.web import live
from sharded_queue.web.app import Console, Options
from sharded_queue.web.command import listening, url_of
from tools.redis_server import RedisServer

SETTLED_SECONDS, MEASURED_SECONDS = 5.0, 20.0
AT_ONCE = 1000
FIRST_PAGES = 20


class Order(Handler):
    """A thread for each customer."""

    name = "shop.Order"

    @classmethod
    async def route(cls, *customers: int) -> list[Route]:
        return [Route(thread=customer) for customer in customers]

    async def perform(self, *customers: int) -> None:
        pass


class Cost(NamedTuple):
    threads: int
    pages: int
    reads_a_second: float
    first_page_ms: float
    update_bytes: int
    largest_update_bytes: int
    cpu_seconds_a_second: float
    megabytes: float

    def __str__(self) -> str:
        return (
            f"{self.threads:,} threads, {self.pages} open pages\n"
            f"  reads of Redis a second     {self.reads_a_second:.2f}\n"
            f"  first page, median          {self.first_page_ms:.0f} ms\n"
            f"  an update, median           {self.update_bytes:,} bytes\n"
            f"  the largest update          {self.largest_update_bytes:,} bytes\n"
            f"  CPU of the console          {self.cpu_seconds_a_second:.2f} of a core\n"
            f"  memory of this process      {self.megabytes:.0f} MB"
        )


async def fill(redis: Redis, threads: int) -> None:
    queue = Queue(RedisStorage(redis))
    for begin in range(0, threads, AT_ONCE):
        await queue.register(Order, *range(begin, min(begin + AT_ONCE, threads)))


async def reads(redis: Redis) -> int:
    """Scripts that ran, and steps of scans, as the server counted them. Commands within a script are part of it."""
    stats = await redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "scan"))


def paths(pages: int) -> list[str]:
    """Of ten people, five look at the overview, three at the handler, and two at a thread, each at one of their own."""
    return [f"/live?{urlencode({'page': name, 'query': urlencode(query)})}" for name, query in map(page, range(pages))]


def page(number: int) -> tuple[str, dict[str, str]]:
    if number % 10 < 5:
        return "overview", {}
    if number % 10 < 8:
        return "handler", {"handler": Order.name}
    return "thread", {"handler": Order.name, "thread": str(number)}


async def follow(client: httpx.AsyncClient, path: str, sizes: list[int], is_measuring: asyncio.Event) -> None:
    async with client.stream("GET", path, timeout=None) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data:") and is_measuring.is_set():
                sizes.append(len(line))  # noqa: PERF401 - the stream does not end


async def first_pages(client: httpx.AsyncClient) -> float:
    taken = []
    for _ in range(FIRST_PAGES):
        begin = time.perf_counter()
        answer = await client.get("/")
        answer.raise_for_status()
        taken.append((time.perf_counter() - begin) * 1000)
    return statistics.median(taken)


async def measured(redis: Redis, threads: int, pages: int) -> Cost:
    await fill(redis, threads)
    live.PAGES_A_PERSON = pages  # all of them come from this machine
    console = Console(RedisStorage(redis), Options())
    config = uvicorn.Config(console.application(), lifespan="on", log_level="warning", access_log=False)
    server, bound = uvicorn.Server(config), listening("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    sizes: list[int] = []
    is_measuring = asyncio.Event()
    limits = httpx.Limits(max_connections=pages + 10)
    async with httpx.AsyncClient(base_url=url_of(bound), limits=limits, trust_env=False) as client:
        followers = [asyncio.create_task(follow(client, path, sizes, is_measuring)) for path in paths(pages)]
        await asyncio.sleep(SETTLED_SECONDS)
        begin, cpu = await reads(redis), time.process_time()
        is_measuring.set()
        await asyncio.sleep(MEASURED_SECONDS)
        asked, used = await reads(redis) - begin, time.process_time() - cpu
        is_measuring.clear()
        first_ms = await first_pages(client)
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
    server.should_exit = True
    await serving
    return Cost(
        threads=threads,
        pages=pages,
        reads_a_second=asked / MEASURED_SECONDS,
        first_page_ms=first_ms,
        update_bytes=round(statistics.median(sizes)),
        largest_update_bytes=max(sizes),
        cpu_seconds_a_second=used / MEASURED_SECONDS,
        megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.console", description=__doc__)
    parser.add_argument("--threads", type=int, default=100_000)
    parser.add_argument("--pages", type=int, default=100)
    return parser.parse_args(words)


async def main() -> None:
    words = parsed()
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder)).start()
        settings.redis_address = (server.address,)
        try:
            async with Redis(port=server.port) as redis:
                print(await measured(redis, words.threads, words.pages))
        finally:
            server.kill()


if __name__ == "__main__":
    asyncio.run(main())
