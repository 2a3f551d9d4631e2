"""What the console knows of all handlers at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sharded_queue.admin.handler_state import HandlerState
from sharded_queue.web.history import History


@dataclass(frozen=True)
class WatchedHandler(HandlerState):
    """A handler, with what was read of it before."""

    history: History

    @property
    def registered_rate(self) -> float | None:
        return self.history.rate(lambda sample: sample.registered)

    @property
    def settled_rate(self) -> float | None:
        return self.history.rate(lambda sample: sample.settled)


@dataclass(frozen=True)
class World:
    """All handlers as they were at *at*, in seconds since 1970."""

    at: float = 0.0
    handlers: Mapping[str, WatchedHandler] = field(default_factory=dict)
    unreadable: Sequence[str] = ()
    """Why the data of some shards cannot be read."""
    silent_since: float | None = None
    """Since when Redis does not answer; None while it does."""
    trouble: str = ""
    """What the last failed read said."""

    @property
    def by_lag(self) -> list[WatchedHandler]:
        return sorted(self.handlers.values(), key=lambda handler: (-handler.lag_seconds, handler.name))
