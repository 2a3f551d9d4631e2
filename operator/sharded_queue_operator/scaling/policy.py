"""What a user wants of scaling: the limits and targets of a decision."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from math import sqrt
from types import MappingProxyType

DRAIN_SECONDS = 10.0
"""The least D where the user gave none; starts of 1.7 s or longer make it longer."""

WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The scaling part of one resource's spec, as a decision needs it."""

    min_replicas: int = 0
    max_replicas: int = 10

    threads_per_replica: int = 1
    """Threads one worker binds at a time."""

    drain_seconds: float | None = None
    """
    The time within which waiting requests should be handled, as the user gave it: D of the formula is *drain*.

    A shorter time means more workers, and each one costs its start and then stays for the window. Drain time ×
    worker-seconds is least at √(start × window): about 8 s with a start of a second and a window of a minute.
    """

    window_seconds: float | None = None
    """The time that the user gave: replicas fall to the highest wish of *window*. None: idle workers go sooner."""

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
    def drain(self) -> float:
        return DRAIN_SECONDS if self.drain_seconds is None else self.drain_seconds

    @property
    def window(self) -> float:
        return max(WINDOW_SECONDS if self.window_seconds is None else self.window_seconds, self.drain)

    def fitted(self, start_seconds: float) -> "Policy":
        """With a drain time that suits workers which start in *start_seconds*, if the user gave none."""
        if self.drain_seconds is not None:
            return self
        cheapest = sqrt(start_seconds * self.window)
        return replace(self, drain_seconds=max(DRAIN_SECONDS, min(cheapest, self.window)))

    def limited(self, concurrencies: Set[int]) -> "Policy":
        """With no more threads per replica than workers have told that they can hold."""
        threads = min(self.threads_per_replica, max(concurrencies, default=self.threads_per_replica))
        return self if threads == self.threads_per_replica else replace(self, threads_per_replica=max(1, threads))

    @property
    def lanes(self) -> int:
        """The most threads that the workers of this policy can hold at once."""
        return self.max_replicas * self.threads_per_replica

    def bounded(self, replicas: int) -> int:
        return max(self.min_replicas, min(replicas, self.max_replicas))
