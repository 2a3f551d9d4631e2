"""From register to the start of the handler, on a worker that has nothing to do, against a bare BLPOP."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from bench.arithmetic import percentile
from bench.figure import Figure, number
from bench.load import BATCH, STAMP, Small, configured, decode, encode
from bench.scale import Scale
from sharded_queue import Handler, Queue, RedisCoordinator, RedisStorage, Route, Worker

BLOCK = 25
"""Hand-overs of one kind before the turn of the next."""
PAUSE_SECONDS = 0.003
"""Pause between hand-overs, after which both sides are asleep again."""
BARE_KEY = "bare:wake"


class Arrival:
    """Receives the moment at which a handler is called."""

    def __init__(self) -> None:
        self.at, self._came = 0.0, asyncio.Event()

    def note(self) -> None:
        self.at = time.perf_counter()
        self._came.set()

    async def seconds_after(self, send: Callable[[], Awaitable[object]]) -> float:
        self._came.clear()
        started = time.perf_counter()
        await send()
        await self._came.wait()
        return self.at - started


class Woken(Handler):
    name = "bench.woken"
    arrival: Arrival

    @classmethod
    async def route(cls, *requests: Small) -> list[Route]:
        return [Route(request.number) for request in requests]

    async def perform(self, *requests: Small) -> None:
        Woken.arrival.note()


async def measure(redis: Redis, scale: Scale) -> AsyncIterator[Figure]:
    await redis.flushall()
    again, new, bare = await in_turns(redis, scale.wakes)
    for name, times in (("a drained thread", again), ("a new thread", new)):
        for quantile, bound in ((50, 1.5), (99, 2)):
            ours, least = percentile(times, quantile), percentile(bare, quantile)
            note = f"{ms(ours)}; bare {ms(least)}"
            yield Figure(f"wake an idle worker for {name}: p{quantile} to BLPOP", ours / least, "×", note, bound, "≤")


async def in_turns(redis: Redis, count: int) -> tuple[list[float], list[float], list[float]]:
    again: list[float] = []
    new: list[float] = []
    bare: list[float] = []
    queue, Woken.arrival, numbers = Queue(RedisStorage(redis)), Arrival(), iter(range(1, count + 1))
    async with served(redis), popped(redis) as push:
        kinds = (
            (again, Woken.arrival, lambda: queue.register(Woken, Small(0, "again"))),
            (new, Woken.arrival, lambda: queue.register(Woken, Small(next(numbers), "new"))),
            (bare, push.arrival, push),
        )
        while len(bare) < count:
            for times, arrival, send in kinds:
                times += [await spaced(arrival, send) for _ in range(BLOCK)]
    return again, new, bare


async def spaced(arrival: Arrival, send: Callable[[], Awaitable[object]]) -> float:
    seconds = await arrival.seconds_after(send)
    await asyncio.sleep(PAUSE_SECONDS)
    return seconds


class Push:
    def __init__(self, redis: Redis) -> None:
        self.redis, self.arrival = redis, Arrival()

    async def __call__(self) -> None:
        await self.redis.rpush(BARE_KEY, STAMP + encode(Small(0, "bare")))

    async def pop(self) -> None:
        while popped := await self.redis.blpop(BARE_KEY, 0):
            decode(popped[1][len(STAMP) :])
            self.arrival.note()


@asynccontextmanager
async def popped(redis: Redis) -> AsyncIterator[Push]:
    push = Push(redis)
    popping = asyncio.create_task(push.pop())
    try:
        yield push
    finally:
        popping.cancel()
        await asyncio.gather(popping, return_exceptions=True)


@asynccontextmanager
async def served(redis: Redis) -> AsyncIterator[None]:
    """A worker with the default settings."""
    worker = Worker(RedisCoordinator(redis), Queue(RedisStorage(redis)), handlers=[Woken])
    with configured(worker_concurrency=1, worker_batch_size=BATCH):
        serving = asyncio.create_task(worker.loop())
        await asyncio.sleep(0.2)
        try:
            yield
        finally:
            worker.stop()
            await serving


def ms(seconds: float) -> str:
    return f"{number(seconds * 1000)} ms"
