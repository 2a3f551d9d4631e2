"""What was read of a handler at one moment, summed over its shards."""

from collections.abc import Sequence
from dataclasses import dataclass

from sharded_queue.admin.handlers import Named
from sharded_queue.state import Hold, ShardState, TubeLag


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
        """Whether all that waits is paused."""
        return self.is_paused or (bool(self.depth) and not (self.bound or self.ready or self.parked))

    @property
    def is_unconsumed(self) -> bool:
        return any(state.is_unconsumed for state in self.shards)

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


SUMMED = frozenset(
    {
        *("blocked", "bound", "dead", "delayed", "depth", "duplicates", "letters", "overdue", "parked", "paused"),
        *("quarantined", "ready", "registered", "schedules", "settled", "threads", "undrained"),
    }
)
"""The numbers of a shard that a handler has as their sum."""
