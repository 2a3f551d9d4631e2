"""
What a worker reports over HTTP about itself: whether it is alive (`/livez`), and whether it serves (`/readyz`).

`/livez` is tied to the work: a loop that stands still is a reason to restart the process. Redis being away is
not: a new process would not reach it either. `/readyz` reports that.
"""

import asyncio
import time
from collections.abc import Callable
from enum import Enum

from sharded_queue.errors import StorageUnavailable, UnreadableData
from sharded_queue.settings import settings
from sharded_queue.tube import Shard
from sharded_queue.worker.loop import Worker
from sharded_queue.worker.wakeup import POLL_BACKOFF

MARGIN_SECONDS = 10.0
"""What the loop may take beyond its planned waits: a pause of the machine, a slow import in a handler."""

READY_SECONDS = 2.0
"""How long Redis may take to answer; below the time-out of a probe."""


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
        """Complains of a step of the loop, or a call of a handler, that takes longer than it may."""
        for lane in self.worker.lanes:
            if lane.called_since and (age := self.clock() - lane.called_since) > settings.coordinator_timeout:
                return f"{lane.lease} has been in its handler for {age:.0f} s"
        if self.stage is not Stage.SERVING or self.worker.is_entering:
            return ""
        age = self.clock() - max(self.since, self.worker.stats.stepped_at)
        return f"the loop has not moved for {age:.0f} s" if age > self.longest_step() else ""

    def longest_step(self) -> float:
        idle = settings.coordinator_delay * (1 + POLL_BACKOFF * max(1, len(self.shards)))
        return idle + settings.coordinator_lease + settings.redis_timeout + MARGIN_SECONDS

    async def readyz(self) -> str:
        if self.stage is not Stage.SERVING:
            return str(self.stage.value)
        if self.worker.is_entering:
            return "waiting for the lifespan to begin"
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self.worker.queue.storage.observe(self.shards[:1], 0)
        except UnreadableData:  # Redis answers, and other handlers have work
            return ""
        except (StorageUnavailable, TimeoutError) as error:
            return f"Redis does not answer: {error or 'too slow'}"
        return ""
