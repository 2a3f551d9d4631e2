"""
What a worker process says over HTTP about itself: `/metrics`, whether it lives, whether it serves.

`/livez` is tied to the work: a loop that should have moved and did not is a reason to start the process anew. A Redis
that is away is none, as a new process would not find it either: that is what `/readyz` tells.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum

from aiohttp import web

from sharded_queue.errors import ShardedQueueError, StorageUnavailable
from sharded_queue.settings import settings
from sharded_queue.tube import Shard
from sharded_queue.worker import LONGEST_LOOK, Worker

Check = Callable[[], Awaitable[str]]
"""What is wrong, in a sentence; empty when nothing is."""

MARGIN_SECONDS = 10.0
"""What a loop may take beyond the waits it plans: a pause of the machine, a slow import in a handler."""

READY_SECONDS = 2.0
"""How long Redis may take to answer the question whether it is there; below the time-out of a probe."""


class Stage(Enum):
    CONNECTING = "waiting for Redis"
    SERVING = "serving"
    STOPPING = "stopping"


class Health:
    def __init__(self, worker: Worker, shards: list[Shard], clock: Callable[[], float] = time.monotonic) -> None:
        self.worker, self.shards, self.clock = worker, shards, clock
        self.stage = Stage.CONNECTING
        self.since = clock()

    def enter(self, stage: Stage) -> None:
        self.stage, self.since = stage, self.clock()

    async def livez(self) -> str:
        """No step of the loop waits longer than the sum of its waits, and no batch longer than it is given."""
        for lane in self.worker.lanes:
            if lane.batch_since and (age := self.clock() - lane.batch_since) > settings.coordinator_timeout:
                return f"{lane.lease} has been in its handler for {age:.0f} s"
        if self.stage is not Stage.SERVING:
            return ""
        age = self.clock() - max(self.since, self.worker.stats.looked_at)
        return f"the loop has not moved for {age:.0f} s" if age > self.longest_step() else ""

    def longest_step(self) -> float:
        idle = settings.coordinator_delay * (1 + LONGEST_LOOK * max(1, len(self.shards)))
        return idle + settings.coordinator_lease + settings.redis_timeout + MARGIN_SECONDS

    async def readyz(self) -> str:
        if self.stage is not Stage.SERVING:
            return str(self.stage.value)
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self.worker.queue.storage.observe(self.shards[:1], 0)
        except (StorageUnavailable, TimeoutError) as error:
            return f"Redis does not answer: {error or 'too slow'}"
        return ""


@asynccontextmanager
async def served(
    port: int, *, livez: Check, readyz: Check, metrics: Callable[[], Awaitable[bytes]], content_type: str
) -> AsyncIterator[int]:
    """
    Serve while the body runs; gives the port, which matters when 0 was asked for.

    Raises:
        ShardedQueueError: the port cannot be had.
    """

    async def measured(_: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": content_type})

    app = web.Application()
    app.add_routes(
        [web.get("/livez", answer(livez)), web.get("/readyz", answer(readyz)), web.get("/metrics", measured)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await started(runner, port)
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def started(runner: web.AppRunner, port: int) -> None:
    try:
        await web.SockSite(runner, listener(port)).start()
    except OSError as error:
        raise ShardedQueueError(
            f"QUEUE_METRICS_PORT = {port} cannot be served: {error.strerror}; 0 picks a free port"
        ) from error


def listener(port: int) -> socket.socket:
    """One socket for IPv4 and IPv6: two would get two different ports where a free one was asked for."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def answer(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answered(_: web.Request) -> web.Response:
        complaint = await check()
        return web.Response(text=complaint or "ok", status=503 if complaint else 200)

    return answered
