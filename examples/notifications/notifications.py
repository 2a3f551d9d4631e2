"""
Notifications: users are spread over threads, and each thread's users are told things in the order they happened.

`python -m notifications` registers some thousand of them. Every request that was registered, and every one that was
handled, is written to a journal in Redis, so that anybody can check that none was lost and that order was kept.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Sequence
from functools import cache
from typing import Any, NamedTuple, cast

import click

from sharded_queue import Handler, Queue, RedisStorage, Route, connect, settings

THREADS = 30
SLOW_THREAD = 7
"""The users of this thread are told through a provider that takes its time."""

SEND_SECONDS, SLOW_SECONDS = 0.02, 0.1
"""What one notification takes."""

PARTS = 8
"""Requests come in so many parts, with pauses between them."""

JOURNAL = os.environ.get("SHARDED_QUEUE_JOURNAL", "journal")
"""Two lists in Redis, `…:registered` and `…:handled`: an entry `thread/priority number` a request, in order."""


class NotifyRequest(NamedTuple):
    user_id: int
    number: int


class NotifyHandler(Handler):
    @classmethod
    async def route(cls, *requests: NotifyRequest) -> list[Route]:
        return [Route(thread=request.user_id % THREADS) for request in requests]

    async def perform(self, *requests: NotifyRequest) -> None:
        await send_all(requests)
        await note("handled", requests)


async def send_all(requests: Sequence[NotifyRequest]) -> None:
    """Stands in for a provider of e-mail, which takes its time for each message."""
    slow = sum(request.user_id % THREADS == SLOW_THREAD for request in requests)
    await asyncio.sleep(slow * SLOW_SECONDS + (len(requests) - slow) * SEND_SECONDS)


async def note(event: str, requests: Sequence[NotifyRequest]) -> None:
    entries = [f"{request.user_id % THREADS}/0 {request.number}" for request in requests]
    await cast("Awaitable[int]", redis().rpush(f"{JOURNAL}:{event}", *entries))


@cache
def redis() -> Any:
    """The Redis that the settings name; one client for all threads of this process."""
    return connect()


def made(count: int) -> list[NotifyRequest]:
    """As users are: thread n has 1/(n+1) of what thread 0 has. The same for every run."""
    chance = random.Random(count)  # noqa: S311 - no secret
    threads = chance.choices(range(THREADS), weights=[1 / (thread + 1) for thread in range(THREADS)], k=count)
    users = [thread + THREADS * chance.randrange(1000) for thread in threads]
    return [NotifyRequest(user_id, number) for number, user_id in enumerate(users)]


@click.command()
@click.option("--requests", "count", type=click.IntRange(1, 1_000_000), default=3000, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0, 3600), default=4, show_default=True, help="Time to spread them over."
)
def main(count: int, seconds: float) -> None:
    """Register notifications."""
    asyncio.run(produce(made(count), seconds))


async def produce(requests: list[NotifyRequest], seconds: float) -> None:
    queue = Queue(RedisStorage(redis()))
    size = -(-len(requests) // PARTS)
    for first in range(0, len(requests), size):
        part = requests[first : first + size]
        await note("registered", part)  # before, so that nothing is handled that the journal does not know
        for at in range(0, len(part), settings.register_limit):
            await queue.register(NotifyHandler, *part[at : at + settings.register_limit])
        await asyncio.sleep(seconds / PARTS)
    threads = Counter(request.user_id % THREADS for request in requests)
    click.echo(f"registered {len(requests)} requests in {len(threads)} threads, {max(threads.values())} in one of them")


if __name__ == "__main__":
    main()
