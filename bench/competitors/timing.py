"""
What every Python script here shares. `python run_X.py ACTION PORT HOW NUMBER THREADS` does one thing with one queue:

- `register`: registers NUMBER requests, and prints its rate;
- `handle`: starts a worker that handles NUMBER requests and ends, and prints its rate;
- `serve`: starts a worker that serves until it is killed. Each of its jobs lasts NUMBER milliseconds, and prints when
  it begins and when it ends;
- `produce`: registers a request for each number that comes on standard input, and prints when.

HOW is `single` (one request in a call, one job at a time), `best` (the fastest documented settings) or `default`.

These files run in environments of their own, without this project: they import each other and nothing else of ours.
`run_bullmq.mjs` does the same in JavaScript.
"""

import asyncio
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

TEXT = "a request of about fifty bytes, told"

ACTION, HOW = sys.argv[1], sys.argv[3]
PORT, NUMBER, THREADS = (int(sys.argv[place]) for place in (2, 4, 5))
IS_TOLD = ACTION in ("serve", "produce")
"""Whether jobs print when they begin and end; where rates are measured, they do nothing at all."""


class Queue(Protocol):
    """What a script has to offer. Each of its methods may be a coroutine function."""

    def open(self) -> Any:
        """Make ready to register."""

    def register(self, numbers: Iterable[int]) -> Any: ...

    def serve(self, count: int | None) -> Any:
        """Handle *count* requests and return, or serve until the process is killed."""

    def close(self) -> Any: ...


def text(number: int) -> str:
    """The body of a request. Where jobs print, it carries the number, so that a job is recognised in Redis."""
    return f"job {number:05} of those that are told" if IS_TOLD else TEXT


def told(what: str, number: int) -> None:
    """By the clock that all processes of a machine share."""
    print(what, number, time.monotonic_ns(), flush=True)


async def lasting(number: int) -> None:
    told("begin", number)
    await asyncio.sleep(NUMBER / 1000)
    told("end", number)


def lasting_sync(number: int) -> None:
    told("begin", number)
    time.sleep(NUMBER / 1000)
    told("end", number)


class Clock:
    """Wall-clock and CPU time."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def report(self) -> None:
        """Print requests a second, and CPU µs a request."""
        seconds, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        print(json.dumps({"rate": NUMBER / seconds, "cpu_us": cpu / NUMBER * 1e6}), flush=True)


async def at_once(each: Callable[[int], Any], numbers: Iterable[int], limit: int = 32) -> None:
    """For queues without a bulk call: up to *limit* calls at the same time."""
    room = asyncio.Semaphore(limit)

    async def one(number: int) -> None:
        async with room:
            await each(number)

    await asyncio.gather(*map(one, numbers))


async def done(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def acted(queue: Queue) -> None:
    if ACTION in ("handle", "serve"):
        clock = Clock()
        await done(queue.serve(NUMBER if ACTION == "handle" else None))
        clock.report()
        return
    await done(queue.open())
    if ACTION == "register":
        clock = Clock()
        await done(queue.register(range(NUMBER)))
        clock.report()
    else:
        for line in sys.stdin:
            sent_at = time.monotonic_ns()
            await done(queue.register([int(line)]))
            print("sent", int(line), sent_at, flush=True)
    await done(queue.close())


def run(queue: Queue, loop: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(acted(queue))
