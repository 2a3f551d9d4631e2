"""Rates and costs: what one worker process registers and handles a second, and what a request costs Redis."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from redis.asyncio import Redis

from bench import server
from bench.environments import ARQ, BULLMQ, HUEY, OURS, PREDECESSOR, RQ, SAQ, STREAQ, Competitor
from bench.others.script import How, Script, ScriptFailed
from bench.scale import Scale


class Job(NamedTuple):
    """*requests*: enough for a second or so."""

    competitor: Competitor
    how: How
    requests: int
    threads: int = 1

    @property
    def name(self) -> str:
        return f"{self.threads:,} threads × 1" if self.threads > 1 else NAMES[self.how]


NAMES = {"single": "one at a time", "best": "its best", "default": "defaults"}
JOBS = (
    Job(OURS, "best", 100_000),
    Job(PREDECESSOR, "best", 20_000),
    Job(ARQ, "best", 2_000),
    Job(HUEY, "best", 4_000),
    Job(RQ, "best", 1_000),
    Job(SAQ, "best", 2_000),
    Job(STREAQ, "best", 2_000),
    Job(BULLMQ, "best", 10_000),
    Job(OURS, "default", 20_000),
    Job(OURS, "single", 4_000),
    Job(ARQ, "single", 1_000),
    Job(HUEY, "single", 2_000),
    Job(RQ, "single", 500),
    Job(SAQ, "single", 1_000),
    Job(STREAQ, "single", 500),
    Job(BULLMQ, "single", 2_000),
    Job(OURS, "best", 1_000, 1_000),
    Job(PREDECESSOR, "best", 1_000, 1_000),
)


class Sample(NamedTuple):
    """One run: rates a second; and for each request CPU, commands and reads of Redis, and its bytes while it waits."""

    register: float
    handle: float
    cpu_us: float
    redis_us: float
    commands: float
    reads: float
    bytes: float


@dataclass(frozen=True, slots=True)
class Rates:
    """A line of the table: the medians of all rounds."""

    competitor: Competitor
    job: str
    sample: Sample

    @property
    def name(self) -> str:
        return self.competitor.name


async def measure(redis: Redis, scripts: dict[Competitor, Script], scale: Scale) -> AsyncIterator[Rates]:
    """The jobs in turns. A run that fails is left out, with what it printed."""
    jobs = [job for job in JOBS if job.competitor in scripts]
    samples: dict[Job, list[Sample]] = {}
    for _ in range(scale.others_rounds):
        for job in jobs:
            try:
                sample = await once(redis, scripts[job.competitor], sized(job, scale))
            except ScriptFailed as failure:
                print(f"  left out of a round: {job.name}: {failure}", flush=True)
                continue
            samples.setdefault(job, []).append(sample)
            print(f"  {job.competitor.name}, {job.name}: {sample.handle:,.0f} /s", flush=True)
    for job in jobs:
        if runs := samples.get(job):
            yield Rates(job.competitor, job.name, Sample(*map(median, zip(*runs, strict=True))))


def sized(job: Job, scale: Scale) -> Job:
    count = max(100, job.requests // scale.others_share)
    return job._replace(requests=count, threads=count if job.threads > 1 else 1)


async def once(redis: Redis, script: Script, job: Job) -> Sample:
    await redis.flushall()
    empty, before = await server.settled_bytes(redis), await server.cpu_seconds(redis)
    await server.reset(redis)
    registered = await script.report("register", job.how, job.requests, job.threads)
    waiting = await server.settled_bytes(redis) - empty
    handled = await script.report("handle", job.how, job.requests, job.threads)
    commands, reads = sum((await server.calls(redis)).values()), await server.reads(redis)
    redis_us = (await server.cpu_seconds(redis) - before) * 1e6
    costs = (each / job.requests for each in (redis_us, commands, reads, waiting))
    return Sample(registered["rate"], handled["rate"], handled["cpu_us"], *costs)
