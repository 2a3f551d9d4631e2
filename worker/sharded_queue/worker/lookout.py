"""Which shards have threads that wait for a worker: one question for all of them, whatever their number."""

import time
from collections.abc import Mapping, Sequence

from sharded_queue.coordinator import Coordinator, Outlook
from sharded_queue.tube import Shard

LOOK_SECONDS = 0.5
"""How long a look waits for shards that do not answer, such as those on a hung node of a Cluster."""
SILENT_SECONDS = 10.0
"""How long looks leave out a shard that has not answered, so that it holds up the others only once in that time."""


class Lookout:
    """Looks at many shards at once."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._silent: dict[Shard, float] = {}
        """By shard that did not answer, until when it is left out."""

    async def look(self, shards: Sequence[Shard]) -> Mapping[Shard, Outlook]:
        """What is to be had of those of *shards* that answer."""
        now = time.monotonic()
        asked = [shard for shard in shards if self._silent.get(shard, now) <= now]
        found = await self._coordinator.look(asked, LOOK_SECONDS) if asked else {}
        self._silent = {shard: till for shard, till in self._silent.items() if shard not in found and till > now}
        if found:
            till = time.monotonic() + SILENT_SECONDS
            self._silent |= {shard: till for shard in asked if shard not in found}
        return found
