"""
The handler: `sharded-queue worker counting`.

`python counting.py ann 1000000 2000000` registers two counts for a client.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, Self

from primes import count_primes
from processes import Processes

from sharded_queue import Handler, Route, SyncQueue, shared


@asynccontextmanager
async def worker_lifespan() -> AsyncIterator[Processes]:
    """The worker enters it before its first thread, and leaves it after its last one."""
    with Processes() as processes:
        yield processes


class Count(NamedTuple):
    client: str
    below: int


class CountHandler(Handler[Count]):
    def __init__(self, processes: Processes) -> None:
        self.processes = processes

    @classmethod
    async def create(cls) -> Self:
        return cls(shared(Processes))

    @classmethod
    async def route(cls, *counts: Count) -> list[Route]:
        return [Route(count.client) for count in counts]

    async def perform(self, *counts: Count) -> None:
        """The work of a batch is done side by side; its effects follow in order."""
        found = await asyncio.gather(*[self.processes.run(count_primes, count.below) for count in counts])
        for count, primes in zip(counts, found, strict=True):
            print(f"{count.client}: {primes} primes below {count.below}", flush=True)  # noqa: T201 - the effect


if __name__ == "__main__":
    _, client, *bounds = sys.argv
    SyncQueue().register(CountHandler, *[Count(client, int(bound)) for bound in bounds])
