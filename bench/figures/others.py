"""Other queues with jobs as similar as possible: small requests in order, one worker process."""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from redis.asyncio import Redis

from bench import environments, server
from bench.environments import OTHERS, PREDECESSOR, Competitor

OURS = Competitor("this project", "run_ours.py", (), 100_000, "batches of 128")
SMALL_THREADS = 1_000
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Rates:
    """A line of the second table; *redis_us*: CPU time of Redis for registering and handling one request."""

    name: str
    job: str
    register: float
    handle: float
    cpu_us: float
    redis_us: float
    remark: str


async def measure(redis: Redis) -> AsyncIterator[Rates]:
    pythons = {each: environments.python_of(each) for each in (PREDECESSOR, *OTHERS)} | {OURS: Path(sys.executable)}
    jobs = [(each, each.count, 1) for each in (OURS, PREDECESSOR, *OTHERS)]
    jobs += [(each, SMALL_THREADS, SMALL_THREADS) for each in (OURS, PREDECESSOR)]
    rounds = [
        [await once(redis, pythons[each], each, count, threads) for each, count, threads in jobs] for _ in range(ROUNDS)
    ]
    for (each, count, threads), runs in zip(jobs, zip(*rounds, strict=True), strict=True):
        job = f"1 thread × {count:,}" if threads == 1 else f"{threads:,} threads × 1"
        yield Rates(each.name, job, *map(median, zip(*runs, strict=True)), each.remark)


async def once(redis: Redis, python: Path, each: Competitor, count: int, threads: int) -> tuple[float, ...]:
    await redis.flushall()
    before = await server.cpu_seconds(redis)
    port = redis.connection_pool.connection_kwargs["port"]
    report = environments.run(python, each.script, port, count, threads)
    redis_us = (await server.cpu_seconds(redis) - before) / count * 1e6
    return report["register"]["rate"], report["handle"]["rate"], report["handle"]["cpu_us"], redis_us
