"""Order: the jobs of one group, as the handlers of one worker and of two workers saw them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from redis.asyncio import Redis

from bench.environments import Competitor
from bench.others.script import How, Line, Script, ScriptFailed, Talk
from bench.scale import Scale

JOB_MS = 2
START_SECONDS = 3.0
"""Until all workers serve. A worker that gets nothing, because another one keeps the group, prints nothing to tell."""
SETTINGS: tuple[tuple[How, int], ...] = (("single", 1), ("default", 1), ("single", 2))
"""How the workers work, and their number."""


@dataclass(frozen=True, slots=True)
class Order:
    """For each of the settings: the jobs that began before all earlier ones had ended; None if it failed."""

    name: str
    broken: tuple[int | None, ...]
    count: int


async def measure(redis: Redis, scripts: dict[Competitor, Script], scale: Scale) -> AsyncIterator[Order]:
    for competitor, script in scripts.items():
        broken: list[int | None] = []
        for how, workers in SETTINGS:
            await redis.flushall()
            try:
                broken.append(out_of_order(await seen(script, how, workers, scale.ordered)))
            except ScriptFailed as failure:
                print(f"  order, {how}, {workers} workers: {failure}", flush=True)
                broken.append(None)
        yield Order(competitor.name, tuple(broken), scale.ordered)


async def seen(script: Script, how: How, workers: int, count: int) -> list[Line]:
    """What the handlers of all workers printed of the jobs 1 to *count*."""
    async with AsyncExitStack() as stack:
        talks = [await stack.enter_async_context(script.serving(how, JOB_MS)) for _ in range(workers)]
        producer = await stack.enter_async_context(script.producing(how))
        await asyncio.sleep(START_SECONDS)
        lines: list[Line] = []
        async with asyncio.TaskGroup() as tasks:
            followers = [tasks.create_task(follow(talk, lines, count)) for talk in talks]
            for number in range(1, count + 1):
                await producer.send(number)
            await asyncio.wait(followers, return_when=asyncio.FIRST_COMPLETED)
            for follower in followers:
                follower.cancel()
    return lines


async def follow(talk: Talk, lines: list[Line], count: int) -> None:
    """Until *count* jobs have ended, on whichever worker."""
    while sum(line.what == "end" for line in lines) < count:
        lines.append(await talk.line())


def out_of_order(lines: Sequence[Line]) -> int:
    """How many jobs began while an earlier one had not ended. The first job is 1."""
    broken, ended, earliest = 0, set(), 1
    for line in sorted(lines, key=lambda line: line.at):
        if line.what == "begin":
            broken += line.number > earliest
            continue
        ended.add(line.number)
        while earliest in ended:
            earliest += 1
    return broken
