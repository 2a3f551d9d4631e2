"""What was read of a handler at one moment, summed over its shards."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from sharded_queue.admin.handlers import Named
from sharded_queue.state import UNCONSUMED_SECONDS, Hold, ShardState, TubeLag


@dataclass(frozen=True)
class HandlerState:
    """A handler, summed over its shards."""

    named: Named
    shards: Sequence[ShardState]

    @property
    def name(self) -> str:
        return self.named.name

    def _sum(self, field_name: str) -> int:
        return sum(getattr(state, field_name) for state in self.shards)

    def __getattr__(self, name: str) -> int:
        if name in SUMMED:
            return self._sum(name)
        raise AttributeError(name)

    @property
    def lag_seconds(self) -> float:
        return max((state.lag_seconds for state in self.shards), default=0.0)

    @property
    def is_paused(self) -> bool:
        return any(state.is_paused for state in self.shards)

    @property
    def is_still(self) -> bool:
        """Whether all that waits is for a person to resume."""
        is_moving = self.bound or self.ready or self.parked or self.blocked > self.paused + self.exhausted
        return self.is_paused or (bool(self.depth) and not is_moving)

    @property
    def lacks_workers(self) -> bool:
        """Whether something waits that is not paused, and no worker asks for it."""
        is_waiting = bool(self.depth and not self.is_still) or bool(self.overdue)
        return is_waiting and (self.is_unconsumed or not self.is_served)

    @property
    def is_served(self) -> bool:
        return any(state.is_served for state in self.shards)

    @property
    def told_seconds(self) -> float | None:
        """Since a worker last told of itself."""
        return min((state.told_seconds for state in self.shards if state.told_seconds is not None), default=None)

    @property
    def overdue_seconds(self) -> float:
        return max((state.overdue_seconds for state in self.shards), default=0.0)

    @property
    def is_unconsumed(self) -> bool:
        return any(state.is_unconsumed for state in self.shards)

    @property
    def needs_workers(self) -> bool:
        """Whether that has been so for a minute."""
        return self.lacks_workers and (self.is_unconsumed or self.overdue_seconds >= UNCONSUMED_SECONDS)

    @property
    def polled_seconds(self) -> float | None:
        """Since a worker last polled for threads of any shard."""
        return min((state.polled_seconds for state in self.shards if state.polled_seconds is not None), default=None)

    @property
    def holds(self) -> list[Hold]:
        """Leases that have not ended."""
        return [hold for state in self.shards for hold in state.held if hold.lease_seconds > 0]

    @property
    def oldest(self) -> list[TubeLag]:
        """The tubes whose oldest requests wait longest, the longest first."""
        return sorted((tube for state in self.shards for tube in state.oldest), key=lambda tube: -tube.lag_seconds)

    @property
    def deepest(self) -> list[tuple[str, int]]:
        return sorted((pair for state in self.shards for pair in state.deepest), key=lambda pair: -pair[1])

    @property
    def workers(self) -> list[str]:
        return sorted({hold.worker for hold in self.holds})


def handler_states(states: Sequence[ShardState]) -> list[HandlerState]:
    """The handlers of these shards, which are all of theirs."""
    groups = groupby(states, key=lambda state: state.shard.handler)
    found = [(name, list(shards)) for name, shards in groups]
    return [HandlerState(Named(name, len(shards)), shards) for name, shards in found]


SUMMED = frozenset(
    {
        *("blocked", "bound", "dead", "delayed", "depth", "duplicates", "exhausted", "letters", "overdue", "parked"),
        *("paused", "quarantined", "ready", "registered", "schedules", "settled", "threads", "undrained"),
    }
)
"""The numbers of a shard that a handler has as their sum."""
