"""
The order in which ten jobs of one key began, on one worker with one job at a time: when none fails, and when the third
one fails at its first try and is tried again by the queue's own means.
"""

import asyncio
from asyncio.subprocess import DEVNULL
from dataclasses import dataclass

from redis.asyncio import Redis

from bench.environments import ARQ, CELERY, HUEY, OURS, RQ, SAQ, SCRIPTS, Competitor, program_of
from bench.others.script import ScriptFailed, kill, surroundings

PATIENCE = 30.0
JOBS = 10


@dataclass(frozen=True, slots=True)
class Way:
    """How often the third job fails, and the seconds until it is tried again."""

    name: str
    fails: int
    delay: int


WAYS = (
    Way("none fails", 0, 0),
    Way("the third fails once, and is tried again at once", 1, 0),
    Way("… after a second", 1, 1),
)
QUEUES = {
    "this project": (OURS, "failing_ours.py"),
    "Celery 5.7.0": (CELERY, "failing_celery.py"),
    'RQ 3.0.0, `RateLimit("key", 1)`': (RQ, "failing_rq.py"),
    "arq 0.28.0": (ARQ, "failing_arq.py"),
    "huey 3.5.4": (HUEY, "failing_huey.py"),
    "SAQ 0.26.4": (SAQ, "failing_saq.py"),
}


async def table(redis: Redis, port: int) -> list[tuple[str, ...]]:
    rows = [("queue", *(way.name for way in WAYS))]
    for name, (competitor, script) in QUEUES.items():
        rows.append((name, *[cell(await run_jobs(redis, port, competitor, script, way), way) for way in WAYS]))
    return rows


async def run_jobs(redis: Redis, port: int, competitor: Competitor, script: str, way: Way) -> list[int]:
    await redis.flushall()
    program = program_of(competitor)
    assert program
    words = [program[0], str(SCRIPTS / script), str(port), str(way.fails), str(way.delay)]
    process = await asyncio.create_subprocess_exec(
        *words, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, env=surroundings(), start_new_session=True
    )
    try:
        return [await next_begun(redis, competitor) for _ in range(JOBS + way.fails)]
    finally:
        kill(process)
        await process.wait()


async def next_begun(redis: Redis, competitor: Competitor) -> int:
    """
    Raises:
        ScriptFailed: no try began in time.
    """
    popped = await redis.blpop(["begun"], timeout=PATIENCE)
    if popped is None:
        raise ScriptFailed(f"{competitor.name}: no job began for {PATIENCE:g} s")
    return int(popped[1])


def cell(numbers: list[int], way: Way) -> str:
    in_order = sorted(numbers)
    return " ".join(map(str, numbers)) + (": **kept**" if numbers == in_order else "")
