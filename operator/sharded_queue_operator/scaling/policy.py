"""What a user asks for: the bounds and wishes a decision is made within."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Policy:
    """One resource's scaling, as the decision needs it; the resource itself is parsed elsewhere."""

    min_replicas: int = 0
    max_replicas: int = 10

    threads_per_replica: int = 1
    """Threads one worker binds at a time."""

    drain_seconds: float = 10.0
    """
    The time within which what waits should be handled: D of the formula.

    Shorter means more workers, each of which costs its start and then stays for the window; drain time × worker-seconds
    is least at √(start × window), about 8 s with a start of a second and a window of a minute.
    """

    window_seconds: float = 60.0
    """Replicas fall to the highest wish of so many seconds, and of *drain_seconds* at least."""

    bind_seconds: float = 0.01
    """
    What a thread costs beside its requests: b of the formula. A bind takes a millisecond of Redis; the rest is for the
    handler's own `start` and `stop`. Larger values ask for more workers where many threads have few requests each.
    """

    seconds_per_request: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Handling time by handler, for those whose user gave one; it is learned for all others."""

    fallback_replicas: int = 0
    """While the queue is unknown: at least so many. Replicas only rise to it, they never fall to it."""

    stale_seconds: float = 10.0
    """A read older than this says nothing about now."""

    pinned: int | None = None
    """Somebody chose a number by hand; it is used as it is, also outside of the bounds."""

    is_suspended: bool = False
    """No worker shall run."""

    is_recommending: bool = False
    """Decide and say so, change nothing."""

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
