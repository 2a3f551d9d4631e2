"""The requests of all runs, the handler that counts them, and a worker that serves until all are handled."""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis

from sharded_queue import Handler, Queue, RedisCoordinator, RedisStorage, Route, Worker, settings

BATCH = 128
CONCURRENCY = 128
"""Number of threads that the measured worker holds at the same time, unless the table says otherwise."""
LONGEST_RUN_SECONDS = 120
STAMP = b"%013d" % 1_700_000_000_000
"""The messages of the baseline carry a time as ours do, so that both sides decode the same number of bytes."""


class Small(NamedTuple):
    """About 50 bytes as JSON."""

    number: int
    text: str


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Small).decode


def requests(count: int) -> list[Small]:
    return [Small(number, "a request of about fifty bytes, told") for number in range(count)]


class Counted(Handler):
    """Only counts, so it costs what every handler costs. *spread*: the number of threads that requests go to."""

    name = "bench.counted"
    spread = 1
    remaining = 0
    done: Callable[[], None] = staticmethod(lambda: None)

    @classmethod
    async def route(cls, *requests: Small) -> list[Route]:
        if cls.spread == 1:
            return [Route()] * len(requests)
        routes = [Route(thread) for thread in range(cls.spread)]
        return [routes[request.number % cls.spread] for request in requests]

    async def perform(self, *requests: Small) -> None:
        Counted.remaining -= len(requests)
        if Counted.remaining <= 0:
            Counted.done()


@dataclass(frozen=True, slots=True)
class Run:
    """One timed run: wall-clock and CPU seconds of this process, and the number of requests."""

    count: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds / self.count * 1_000_000


class Stopwatch:
    """
    Collects garbage before it starts. Otherwise Python collects that of one run in the middle of a later one, and in
    which one is chance.
    """

    def __init__(self) -> None:
        gc.collect()
        self.started, self.cpu_started = time.perf_counter(), time.process_time()

    def run(self, count: int) -> Run:
        return Run(count, time.perf_counter() - self.started, time.process_time() - self.cpu_started)


@contextmanager
def configured(**values: Any) -> Iterator[None]:
    """Change settings for one measurement, and restore them."""
    before = {name: getattr(settings, name) for name in values}
    for name, value in values.items():
        setattr(settings, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)


async def fill(redis: Redis, count: int, threads: int, handler: type[Handler] = Counted) -> None:
    """Register *count* requests, spread over *threads*."""
    Counted.spread = threads
    queue, waiting = Queue(RedisStorage(redis)), requests(count)
    for at in range(0, count, settings.register_limit):
        await queue.register(handler, *waiting[at : at + settings.register_limit])


async def serve(redis: Redis, count: int, concurrency: int = CONCURRENCY) -> Run:
    """Let a new worker handle the *count* waiting requests, from its start until it has settled and stopped."""
    worker = Worker(RedisCoordinator(redis), Queue(RedisStorage(redis)), handlers=[Counted])
    Counted.remaining, Counted.done = count, staticmethod(worker.stop)
    with configured(worker_concurrency=concurrency, worker_batch_size=BATCH):
        watch = Stopwatch()
        async with asyncio.timeout(LONGEST_RUN_SECONDS):
            handled = await worker.loop()
        run = watch.run(count)
    if handled != count:
        raise RuntimeError(f"{handled} of {count} requests were handled: this measured something else")
    return run
