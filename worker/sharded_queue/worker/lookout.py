"""Which shards have threads that wait for a worker: one question for all of them, whatever their number."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sharded_queue.coordinator import Coordinator, Outlook
from sharded_queue.tube import Shard

LOOK_SECONDS = 0.5
"""How long a look waits for shards that do not answer, such as those on a hung node of a Cluster."""
LEAST_SILENT_SECONDS, MOST_SILENT_SECONDS = 1.0, 10.0
"""
How long looks leave out a shard that has not answered: after its first silence, and at most. Each silence after the one
before doubles it. So a shard that was slow once is looked at soon, and one that hangs holds up the others only once in
ten seconds.
"""


class Silence(NamedTuple):
    """A shard did not answer: it is left out for *seconds*, which end at *till* by the monotonic clock."""

    till: float
    seconds: float


class Lookout:
    """Looks at many shards at once."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._silent: dict[Shard, Silence] = {}

    async def look(self, shards: Sequence[Shard]) -> Mapping[Shard, Outlook]:
        """What is to be had of those of *shards* that answer."""
        now = time.monotonic()
        asked = [shard for shard in shards if shard not in self._silent or self._silent[shard].till <= now]
        found = await self._coordinator.look(asked, LOOK_SECONDS) if asked else {}
        silent = [shard for shard in asked if shard not in found] if found else []
        self._silent = {shard: silence for shard, silence in self._silent.items() if shard not in found}
        self._silent |= {shard: next_silence(self._silent.get(shard), time.monotonic()) for shard in silent}
        return found


def next_silence(last: Silence | None, now: float) -> Silence:
    seconds = min(2 * last.seconds, MOST_SILENT_SECONDS) if last else LEAST_SILENT_SECONDS
    return Silence(now + seconds, seconds)
