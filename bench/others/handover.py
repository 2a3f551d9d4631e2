"""Hand-over: from the call that registers to the job's begin, on a worker that has nothing to do."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from statistics import median

from redis.asyncio import Redis

from bench.arithmetic import percentile
from bench.environments import Competitor
from bench.others.script import Script, ScriptFailed
from bench.scale import Scale

PAUSE_SECONDS = 0.01
"""After a job's end, so that the worker is idle again before the next one is registered."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Milliseconds."""

    name: str
    p50: float
    p99: float


async def measure(redis: Redis, scripts: dict[Competitor, Script], scale: Scale) -> AsyncIterator[Handover]:
    """A worker and a producer, each a process; the queues in turns, and one at a time."""
    times: dict[Competitor, list[float]] = {}
    for _ in range(scale.others_rounds):
        for competitor, script in scripts.items():
            await redis.flushall()
            try:
                times.setdefault(competitor, []).extend(await handed_over(script, scale.handovers))
            except ScriptFailed as failure:
                print(f"  hand-over: {failure}", flush=True)
    for competitor, taken in times.items():
        if taken:
            yield Handover(competitor.name, median(taken) * 1000, percentile(taken, 99) * 1000)


async def handed_over(script: Script, count: int) -> list[float]:
    """The first one, for which the worker may still be starting, is left out."""
    taken = []
    async with script.serving("single", 0) as worker, script.producing("single") as producer:
        for number in range(count + 1):
            sent, begun = await asyncio.gather(producer.send(number), worker.until("begin"))
            await worker.until("end")
            taken.append(begun.at - sent.at)
            await asyncio.sleep(PAUSE_SECONDS)
    return taken[1:]
