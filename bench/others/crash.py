"""What a `kill -9` in the middle of a job costs, at default settings, when another worker is started at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from bench.environments import Competitor
from bench.others.script import Line, Script, ScriptFailed, Talk
from bench.scale import Scale
from tools.redis_server import RedisServer

INTERRUPTED, NEXT = 1, 2
"""The numbers of the two jobs of one group."""
SETTLED_SECONDS = 1.0
"""How long the interrupted job has been in hands, so that its worker has recorded what it records."""

CLOSED_SECONDS = 0.5
"""Until Redis has closed the dead worker's connections, whose blocked pops would take the next job with them."""


@dataclass(frozen=True, slots=True)
class Crash:
    """
    Seconds from the kill until each of the two jobs began; None: not within *patience*.

    *is_lost*: Redis holds no trace of the interrupted job.
    """

    name: str
    again: float | None
    next: float | None
    is_lost: bool
    patience: float


async def measure(folder: Path, scripts: dict[Competitor, Script], scale: Scale) -> AsyncIterator[Crash]:
    """All queues at the same time, each on a Redis of its own: nearly all of it is waiting."""
    runs = [on_its_own(folder / script.competitor.folder.name, script, scale.patience) for script in scripts.values()]
    for competitor, result in zip(scripts, await asyncio.gather(*runs, return_exceptions=True), strict=True):
        if isinstance(result, ScriptFailed):
            print(f"  kill -9: {competitor.name} is left out: {result}", flush=True)
        elif isinstance(result, BaseException):
            raise result
        else:
            yield result


async def on_its_own(folder: Path, script: Script, patience: float) -> Crash:
    server = RedisServer(folder, rdbcompression="no").start()
    try:
        own = Script(script.competitor, script.program, server.port)
        async with Redis(port=server.port) as redis:
            return await killed(redis, own, patience)
    finally:
        server.kill()


async def killed(redis: Redis, script: Script, patience: float) -> Crash:
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(script.producing("default"))
        first = await stack.enter_async_context(script.serving("default", int(2 * patience * 1000)))
        await producer.send(INTERRUPTED)
        await first.until("begin")
        await asyncio.sleep(SETTLED_SECONDS)
        killed_at = asyncio.get_running_loop().time()
        await first.kill()
        second = await stack.enter_async_context(script.serving("default", 10))
        await asyncio.sleep(CLOSED_SECONDS)
        await producer.send(NEXT)
        begun = await begun_within(second, killed_at + patience)
        is_lost = INTERRUPTED not in begun and not await holds(redis, f"job {INTERRUPTED:05} of")
    again, following = (begun[each].at - killed_at if each in begun else None for each in (INTERRUPTED, NEXT))
    return Crash(script.competitor.name, again, following, is_lost, patience)


async def begun_within(worker: Talk, until: float) -> dict[int, Line]:
    """When each job began, as far as it did until then. The event loop reads the same clock as all processes."""
    begun: dict[int, Line] = {}
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(until):
            while not begun.keys() >= {INTERRUPTED, NEXT}:
                line = await worker.until("begin", until - loop.time() + 1)
                begun.setdefault(line.number, line)
    except TimeoutError:
        pass
    return begun


async def holds(redis: Redis, text: str) -> bool:
    """Whether any key holds *text*. The server dumps without compressing."""
    async for key in redis.scan_iter():
        if text.encode() in (await redis.dump(key) or b""):
            return True
    return False
