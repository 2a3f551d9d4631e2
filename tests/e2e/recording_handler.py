"""
What the worker pods of `test_release.py` run, mounted into them: the handler of the crash tests, whose history is a
list in Redis, as nothing of a pod stays. The clock is that of the machine, which all its pods share.
"""

import asyncio
import time
from functools import cache
from typing import Any, NamedTuple

from sharded_queue import Handler, Route, current
from sharded_queue.backends.redis.client import connect

HISTORY = "steps:history"
WORK_SECONDS = 0.01


class Step(NamedTuple):
    thread: str
    number: int


class StepHandler(Handler):
    name = "tests.Step"

    @classmethod
    async def route(cls, *requests: Step) -> list[Route]:
        return [Route(request.thread) for request in requests]

    async def perform(self, *requests: Step) -> None:
        lease = current().lease
        for step in requests:
            await asyncio.sleep(WORK_SECONDS)
            line = f"{time.monotonic_ns()} {step.thread} {step.number} {lease.fence} {lease.owner}"
            await redis().rpush(HISTORY, line)


@cache
def redis() -> Any:
    return connect()
