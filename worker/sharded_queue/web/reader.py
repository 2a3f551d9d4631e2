"""
The only reader of Redis that all pages share.

One round trip a second asks for the state of all handlers, at a cost that does not grow with the number of threads. One
more may ask about what open pages show in detail. Pages wait for the reader; no page asks Redis by itself.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from sharded_queue.admin.handlers import Named
from sharded_queue.admin.words import LISTED
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.errors import StorageUnavailable, UnreadableData
from sharded_queue.state import ShardState
from sharded_queue.storage import observe_readable
from sharded_queue.web.history import History, Sample
from sharded_queue.web.world import WatchedHandler, World

log = logging.getLogger("sharded_queue.web")

PERIOD_SECONDS = 1.05
"""With one read of a detail in each round, below two reads a second in all."""
LEAST_DISCOVERY_SECONDS, MOST_DISCOVERY_SECONDS, DISCOVERY_SHARE = 30.0, 600.0, 0.001
"""
Between two scans of the keys for handlers, where none are named: so long that scans take a thousandth of the time,
within these bounds. A scan of 100,000 keys takes 100 short steps.
"""


class Reader:
    """*chosen*: the handlers to show; empty: those that Redis has."""

    def __init__(self, storage: RedisStorage, chosen: Sequence[Named]) -> None:
        self.storage = storage
        self.chosen, self.is_discovering = list(chosen), not chosen
        self.world = World()
        self.histories: dict[str, History] = {}
        self._discover_at = 0.0

    async def run(self, then: Callable[[], Awaitable[None]]) -> None:
        """Read until cancelled, a round a second, and do something after each."""
        elapsed = asyncio.get_running_loop().time
        while True:
            begin = elapsed()
            await self.round()
            await then()
            await asyncio.sleep(max(0.1, begin + PERIOD_SECONDS - elapsed()))

    async def round(self) -> None:
        """Read what all pages need. An error is part of what they show."""
        try:
            await self._discover()
            shards = [shard for named in self.chosen for shard in named.shards]
            states, unreadable = await observe_readable(self.storage, shards, LISTED) if shards else ([], [])
        except StorageUnavailable as error:
            self._silent(error)
        else:
            self._answered(states, unreadable)

    async def _discover(self) -> None:
        """The handlers that Redis has, from a scan of its keys: there is no list of them."""
        began = time.monotonic()
        if not self.is_discovering or began < self._discover_at:
            return
        spreads: dict[str, int] = {}
        for shard in await self.storage.known_shards():
            spreads[shard.handler] = max(spreads.get(shard.handler, 1), shard.number + 1)
        self.chosen = [Named(name, spread) for name, spread in sorted(spreads.items())]
        if self.chosen:
            self._discover_at = time.monotonic() + seconds_between_scans(time.monotonic() - began)

    def _silent(self, error: Exception) -> None:
        world = self.world
        if world.silent_since is None:
            log.warning("Redis does not answer: %s", error)
        since = world.silent_since or time.time()
        self.world = World(world.at, world.handlers, world.unreadable, since, str(error))

    def _answered(self, states: Sequence[ShardState], unreadable: Sequence[UnreadableData]) -> None:
        if self.world.silent_since is not None:
            log.info("Redis answers again")
        at = time.time()
        by_handler: dict[str, list[ShardState]] = {}
        for state in states:
            by_handler.setdefault(state.shard.handler, []).append(state)
        handlers: dict[str, WatchedHandler] = {}
        for named in self.chosen:
            if shards := by_handler.get(named.name):
                history = self.histories.setdefault(named.name, History())
                handlers[named.name] = state_of = WatchedHandler(named, shards, history)
                history.add(sample(at, state_of))
        for name in self.histories.keys() - handlers.keys():
            del self.histories[name]
        self.world = World(at, handlers, [str(error) for error in unreadable])

    def named(self, handler: str) -> Named | None:
        return next((named for named in self.chosen if named.name == handler), None)


def seconds_between_scans(taken: float) -> float:
    """How long to wait after a scan that took *taken* seconds."""
    return min(max(taken / DISCOVERY_SHARE, LEAST_DISCOVERY_SECONDS), MOST_DISCOVERY_SECONDS)


def sample(at: float, state: WatchedHandler) -> Sample:
    born = tuple(shard.born for shard in state.shards)
    return Sample(at, state.depth, state.lag_seconds, state.registered, state.settled, born)
