"""
What the worker pods run, mounted into them: handlers that write down when each step of their process was reached.

The clock is that of the machine, which all its pods share.
"""

import asyncio
import json
import os
import time
from functools import cache
from typing import Any, NamedTuple

from sharded_queue import Handler, Route, current
from sharded_queue.backends.redis.client import connect

JOURNAL = "bench:timestamps"
STARTED = "BENCH_PYTHON_STARTED"
NOTE_START = f"import os, time\nos.environ['{STARTED}'] = str(time.time())\n"
"""The text of a `sitecustomize.py`, which the interpreter runs before any other code of ours."""

IMPORTED_AT = time.time()
QUEUES = 100


class Task(NamedTuple):
    thread: str
    seconds: float


class Noted(Handler):
    """Takes the time that each request asks for."""

    name = "bench.noted"
    bound_at = 0.0

    @classmethod
    async def route(cls, *requests: Task) -> list[Route]:
        return [Route(request.thread) for request in requests]

    async def start(self) -> None:
        self.bound_at = time.time()

    async def perform(self, *requests: Task) -> None:
        await asyncio.sleep(sum(request.seconds for request in requests))
        timestamps = {
            "handler": self.name,
            "owner": current().lease.owner,
            "count": len(requests),
            "started": float(os.environ.get(STARTED, "0")),
            "imported": IMPORTED_AT,
            "bound": self.bound_at,
            "handled": time.time(),
        }
        await redis().rpush(JOURNAL, json.dumps(timestamps))


def first_of(number: int) -> str:
    return f"bench.first.{number:03d}"


FIRST = [type(f"First{number}", (Noted,), {"name": first_of(number)}) for number in range(QUEUES)]
"""A separate queue for each repetition, which is empty and was never scaled."""


@cache
def redis() -> Any:
    return connect()
