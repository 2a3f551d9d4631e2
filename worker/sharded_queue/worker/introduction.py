"""What a worker tells of itself, so that people can list workers: with a poll or a renewal, so it costs no command."""

import time
from collections.abc import Callable
from functools import cache

from sharded_queue.release import release
from sharded_queue.settings import settings
from sharded_queue.state import About
from sharded_queue.tube import Shard

INTERVAL_SECONDS = 10.0
"""How long a shard is told nothing after it was told."""


class Introduction:
    """Whether a shard has to be told of this worker, and what. It is asked in the OS thread of renewals as well."""

    def __init__(self, tries: Callable[[Shard], int | None], clock: Callable[[], float] = time.monotonic) -> None:
        """*tries*: how often a request of the handler of a shard is tried."""
        self._tries, self._clock = cache(tries), clock
        self._started_ms = int(time.time() * 1000)
        self._told: dict[Shard, tuple[float, About]] = {}

    def due(self, shard: Shard) -> About | None:
        """What to tell the shard now. A call that fails is not made up for: the next one comes soon enough."""
        now, told = self._clock(), self._told.get(shard)
        if told and now - told[0] < INTERVAL_SECONDS:
            return None
        about = About(release(), settings.worker_concurrency, self._started_ms, self._tries(shard))
        self._told[shard] = now, about
        return about

    def taken_back(self) -> dict[Shard, About]:
        """What each shard was told last. From here on, nothing counts as told."""
        told = {shard: about for shard, (_, about) in self._told.items()}
        self._told.clear()
        return told
