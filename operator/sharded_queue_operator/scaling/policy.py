"""What a user wants of scaling: the limits and targets of a decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Policy:
    """The scaling part of one resource's spec, as a decision needs it."""

    min_replicas: int = 0
    max_replicas: int = 10

    threads_per_replica: int = 1
    """Threads one worker binds at a time."""

    drain_seconds: float = 10.0
    """
    The time within which waiting requests should be handled: D of the formula.

    A shorter time means more workers, and each one costs its start and then stays for the window. Drain time ×
    worker-seconds is least at √(start × window): about 8 s with a start of a second and a window of a minute.
    """

    window_seconds: float = 60.0
    """Replicas fall to the highest wish of this time; `window` is at least *drain_seconds*."""

    bind_seconds: float = 0.01
    """
    What a thread costs besides its requests: b of the formula. A bind takes a millisecond of Redis; the rest is for the
    handler's own `start` and `stop`. Larger values ask for more workers where many threads have few requests each.
    """

    seconds_per_request: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """The user's value by handler; without one it is learned."""

    fallback_replicas: int = 0
    """The least while the queue is unknown. Replicas rise to it and never fall to it."""

    stale_seconds: float = 10.0
    """A reading older than this says nothing about now."""

    pinned: int | None = None
    """A number that a person set. It applies as it is, even outside the limits."""

    is_suspended: bool = False
    """No worker runs."""

    is_recommending: bool = False
    """Decisions are reported and not carried out."""

    may_rise: bool = True
    may_fall: bool = True

    @property
    def window(self) -> float:
        return max(self.window_seconds, self.drain_seconds)

    @property
    def lanes(self) -> int:
        """The most threads that the workers of this policy can hold at once."""
        return self.max_replicas * self.threads_per_replica

    def bounded(self, replicas: int) -> int:
        return max(self.min_replicas, min(replicas, self.max_replicas))
