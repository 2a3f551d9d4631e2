"""A request that comes alone, as web programs register: what it costs Redis, against RPUSH and LPOP one at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count
from statistics import median
from typing import NamedTuple

from redis.asyncio import Redis

from bench import server
from bench.arithmetic import paired_ratio
from bench.figure import Figure, number
from bench.load import STAMP, Small, Stopwatch, configured, encode
from bench.scale import Scale
from sharded_queue import Handler, Queue, RedisCoordinator, RedisStorage, Route, Worker

REQUESTS = 1000
"""One after another, in a turn."""
PRODUCERS, EACH = 100, 50
"""Tasks of one process that register at the same time, and the requests of each in a turn."""
BARE_KEY = "bare:alone"
NAMES = {
    "new": "a request alone, for a new thread",
    "held": "a request alone, for a thread that its worker holds",
    "many": f"{PRODUCERS} producers at once, for new threads",
}


class Alone(Handler):
    name = "bench.alone"
    handled: asyncio.Semaphore

    @classmethod
    async def route(cls, *requests: Small) -> list[Route]:
        return [Route(request.number) for request in requests]

    async def perform(self, *requests: Small) -> None:
        for _ in requests:
            Alone.handled.release()


class Cost(NamedTuple):
    """Of one request: microseconds of Redis's processor, commands with those inside of scripts, requests a second."""

    cpu_us: float
    commands: float
    rate: float


async def measure(redis: Redis, scale: Scale) -> AsyncIterator[Figure]:
    costs: dict[str, list[Cost]] = {kind: [] for kind in (*NAMES, "bare", "pushed", "registered")}
    for _ in range(scale.rounds):
        for kind, cost in [pair async for pair in one_round(redis)]:
            costs[kind].append(cost)
    for kind, most, most_commands in (("new", 2.0, 14), ("held", 1.5, 10)):
        cpu, bare = [cost.cpu_us for cost in costs[kind]], [cost.cpu_us for cost in costs["bare"]]
        note = f"{number(median(cpu))} µs; bare {number(median(bare))} µs"
        yield Figure(f"{NAMES[kind]}: Redis CPU to RPUSH+LPOP", paired_ratio(cpu, bare), "×", note, most, "≤")
        commands = median(cost.commands for cost in costs[kind])
        yield Figure("… commands in Redis", commands, "", "those inside of scripts too", most_commands, "≤")
    rates, pushed = [cost.rate for cost in costs["registered"]], [cost.rate for cost in costs["pushed"]]
    note = f"{number(median(rates))} /s; bare {number(median(pushed))} /s"
    yield Figure("register one at a time: to bare RPUSH", paired_ratio(rates, pushed), "×", note, 0.7)
    many = median(cost.cpu_us for cost in costs["many"])
    note = f"registered, bound, handled and settled; {number(median(cost.rate for cost in costs['many']))} /s"
    yield Figure(f"{NAMES['many']}: Redis CPU a request", many, "µs", note, 83, "≤")


async def one_round(redis: Redis) -> AsyncIterator[tuple[str, Cost]]:
    await redis.flushall()
    queue, numbers = Queue(RedisStorage(redis)), count(1)
    Alone.handled = asyncio.Semaphore(0)

    async def hand_over(thread: int) -> None:
        await queue.register(Alone, Small(thread, "a request of about fifty bytes, told"))
        await Alone.handled.acquire()

    async def hand_over_bare() -> None:
        await redis.rpush(BARE_KEY, STAMP + encode(Small(0, "a request of about fifty bytes, told")))
        await redis.lpop(BARE_KEY)

    yield "bare", await cost_of(redis, REQUESTS, one_by_one(hand_over_bare))
    yield "pushed", await cost_of(redis, REQUESTS, one_by_one(lambda: redis.rpush(BARE_KEY, STAMP)))
    yield "registered", await cost_of(redis, REQUESTS, one_by_one(lambda: queue.register(Alone, Small(0, "alone"))))
    await redis.flushall()
    worker = Worker(RedisCoordinator(redis), Queue(RedisStorage(redis)), handlers=[Alone])
    with configured(worker_concurrency=10):
        serving = asyncio.create_task(worker.loop())
        await hand_over(0)
        yield "new", await cost_of(redis, REQUESTS, one_by_one(lambda: hand_over(next(numbers))))
        yield "held", await cost_of(redis, REQUESTS, one_by_one(lambda: hand_over(0)))
        producers = [one_by_one(lambda: queue.register(Alone, Small(next(numbers), "at once")), EACH)] * PRODUCERS
        handled = [Alone.handled.acquire() for _ in range(PRODUCERS * EACH)]
        yield "many", await cost_of(redis, PRODUCERS * EACH, lambda: all_of([*(run() for run in producers), *handled]))
        worker.stop()
        await serving


def one_by_one(call: Callable[[], Awaitable[object]], times: int = REQUESTS) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        for _ in range(times):
            await call()

    return run


async def all_of(works: Sequence[Awaitable[object]]) -> None:
    await asyncio.gather(*works)


async def cost_of(redis: Redis, requests: int, work: Callable[[], Awaitable[None]]) -> Cost:
    await server.reset(redis)
    cpu, watch = await server.cpu_seconds(redis), Stopwatch()
    await work()
    run = watch.run(requests)
    used = await server.cpu_seconds(redis) - cpu
    commands = sum((await server.calls(redis)).values()) - 2  # the two that ask
    return Cost(used / requests * 1e6, commands / requests, run.rate)
