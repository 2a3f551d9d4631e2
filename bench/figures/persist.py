"""What the append-only file costs: registering and handling on a Redis that keeps one, against one that keeps none."""

import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from redis.asyncio import Redis

from bench import load
from bench.arithmetic import paired_ratio
from bench.environments import PLACE
from bench.figure import Figure
from bench.load import Counted, Run, Stopwatch
from bench.scale import Scale
from sharded_queue import Queue, RedisStorage
from tools.redis_server import RedisServer

THREADS = 100
MANY = 4
"""Times the usual number of requests, so that runs last about as long as the file may wait for its disk."""
SINGLES = 1_000
"""Requests that are registered one after another, each when the one before is acknowledged."""

KINDS = {
    "no": {},
    "everysec": {"appendonly": "yes", "appendfsync": "everysec"},
    "always": {"appendonly": "yes", "appendfsync": "always"},
}
WORK = ("register one at a time", "register in bulk", "handle")


async def measure(_: Redis, scale: Scale) -> AsyncIterator[Figure]:
    """The three servers in turns. Their files are in the folder of the repository: other folders may be in memory."""
    runs: dict[tuple[str, str], list[Run]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=PLACE) as folder:
        async with AsyncExitStack() as stack:
            clients = {kind: await start(stack, Path(folder) / kind, options) for kind, options in KINDS.items()}
            for _round in range(scale.rounds):
                for kind, client in clients.items():
                    for work, run in zip(WORK, await once(client, MANY * scale.requests), strict=True):
                        runs[work, kind].append(run)
    for work in WORK:
        for kind in ("everysec", "always"):
            yield compare(f"{work}, appendfsync {kind}: to no file", runs[work, kind], runs[work, "no"])


async def start(stack: AsyncExitStack, folder: Path, options: dict[str, str]) -> Redis:
    server = RedisServer(folder, **options).start()
    stack.callback(server.kill)
    return await stack.enter_async_context(Redis(port=server.port, socket_timeout=120))


async def once(redis: Redis, count: int) -> tuple[Run, Run, Run]:
    await redis.flushall()
    Counted.spread = THREADS
    queue, waiting = Queue(RedisStorage(redis)), load.requests(SINGLES)
    watch = Stopwatch()
    for request in waiting:
        await queue.register(Counted, request)
    single = watch.run(SINGLES)
    watch = Stopwatch()
    await load.fill(redis, count, THREADS)
    bulk = watch.run(count)
    return single, bulk, await load.serve(redis, SINGLES + count)


def compare(name: str, kept: list[Run], none: list[Run]) -> Figure:
    rates, others = [run.rate for run in kept], [run.rate for run in none]
    return Figure(name, paired_ratio(rates, others), "×", f"{median(rates):,.0f} /s; no file {median(others):,.0f} /s")
