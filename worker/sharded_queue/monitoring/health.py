"""
What a worker process says over HTTP about itself: `/metrics`, whether it lives, whether it serves.

`/livez` is tied to the work: a loop that should have moved and did not is a reason to start the process anew. A Redis
that is away is none, as a new process would not find it either: that is what `/readyz` tells.
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
            if lane.called_since and (age := self.clock() - lane.called_since) > settings.coordinator_timeout:
                return f"{lane.lease} has been in its handler for {age:.0f} s"
        if self.stage is not Stage.SERVING:
            return ""
        age = self.clock() - max(self.since, self.worker.stats.stepped_at)
        return f"the loop has not moved for {age:.0f} s" if age > self.longest_step() else ""

    def longest_step(self) -> float:
        idle = settings.coordinator_delay * (1 + POLL_BACKOFF * max(1, len(self.shards)))
        return idle + settings.coordinator_lease + settings.redis_timeout + MARGIN_SECONDS

    async def readyz(self) -> str:
        if self.stage is not Stage.SERVING:
            return str(self.stage.value)
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self.worker.queue.storage.observe(self.shards[:1], 0)
        except UnreadableData:  # Redis answers, and other handlers have their work
            return ""
        except (StorageUnavailable, TimeoutError) as error:
            return f"Redis does not answer: {error or 'too slow'}"
        return ""
