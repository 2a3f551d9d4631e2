"""Registering in bulk against RPUSH, with the encoding on both sides."""

from collections.abc import AsyncIterator
from statistics import median

from redis.asyncio import Redis

from bench import baseline, load
from bench.arithmetic import paired_ratio
from bench.figure import Figure
from bench.load import Counted, Run, Stopwatch
from bench.scale import Scale
from sharded_queue import Queue, RedisStorage, settings

BULK = settings.register_limit
"""Requests in one call."""


async def measure(redis: Redis, scale: Scale) -> AsyncIterator[Figure]:
    for threads in (1, 100):
        ours, theirs = await in_turns(redis, scale, threads)
        rate, other = [run.rate for run in ours], [run.rate for run in theirs]
        yield Figure(
            f"register in bulk, {threads} thread{'s'[: threads > 1]}: to bare RPUSH",
            paired_ratio(rate, other),
            "×",
            f"{median(rate):,.0f} /s; bare {median(other):,.0f} /s",
            0.7,
        )


async def in_turns(redis: Redis, scale: Scale, threads: int) -> tuple[list[Run], list[Run]]:
    queue, waiting = Queue(RedisStorage(redis)), load.requests(BULK)
    groups = {f"bare:{thread}": waiting[thread::threads] for thread in range(threads)}
    ours: list[Run] = []
    theirs: list[Run] = []
    Counted.spread = threads
    await redis.flushall()
    for _ in range(max(scale.rounds, scale.rounds * scale.requests // BULK // 4)):
        watch = Stopwatch()
        await queue.register(Counted, *waiting)
        ours.append(watch.run(BULK))
        theirs.append(await baseline.register(redis, groups, BULK))
    return ours, theirs
