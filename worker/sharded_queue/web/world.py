"""What the console knows of all handlers at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sharded_queue.cli.arguments import Named
from sharded_queue.state import Hold, ShardState, TubeLag
from sharded_queue.web.history import History


@dataclass(frozen=True)
class HandlerState:
    """A handler, summed over its shards."""

    named: Named
    shards: Sequence[ShardState]
    history: History

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

    @property
    def registered_rate(self) -> float | None:
        return self.history.rate(lambda sample: sample.registered)

    @property
    def settled_rate(self) -> float | None:
        return self.history.rate(lambda sample: sample.settled)


SUMMED = frozenset(
    {
        *("blocked", "bound", "dead", "delayed", "depth", "duplicates", "letters", "overdue", "parked", "paused"),
        *("quarantined", "ready", "registered", "schedules", "settled", "threads", "undrained"),
    }
)
"""The numbers of a shard that a handler has as their sum."""


@dataclass(frozen=True)
class World:
    """All handlers as they were at *at*, in seconds since 1970."""

    at: float = 0.0
    handlers: Mapping[str, HandlerState] = field(default_factory=dict)
    unreadable: Sequence[str] = ()
    """Why the data of some shards cannot be read."""
    silent_since: float | None = None
    """Since when Redis does not answer; None while it does."""
    trouble: str = ""
    """What the last failed read said."""

    @property
    def by_lag(self) -> list[HandlerState]:
        return sorted(self.handlers.values(), key=lambda handler: (-handler.lag_seconds, handler.name))
