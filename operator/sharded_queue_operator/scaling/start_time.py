"""
Seconds from a rise of the replicas to a new worker's first thread, learned from who holds threads after it. Pure.

Only workers that found a thread waiting count: the first thread of others says when the thread came. So do only rises
to which no idle worker could answer.
"""

from typing import NamedTuple

from sharded_queue_operator.scaling.observation import Observation

UNKNOWN_SECONDS = 1.0
"""The assumed start of a worker before the first one was seen: a pod whose image is on its node."""

LEAST_SECONDS = 0.1
"""No worker starts sooner: an earlier first thread was that of a worker that was there before."""

WEIGHT = 0.5
"""Of each new worker, in the mean. So what a start took when all pods started together is soon forgotten."""


class StartTime(NamedTuple):
    """
    What a start takes, *seconds*, as far as was learned. *risen_at* is when the replicas rose to workers that are still
    awaited, and *known* those that held threads before, so that each new one counts once.
    """

    seconds: float = UNKNOWN_SECONDS
    risen_at: float | None = None
    known: frozenset[str] = frozenset()

    def after_rise(self, seen: Observation, now: float) -> "StartTime":
        """Wait for new workers, unless an idle one may be taken for them, or no thread waits for them."""
        is_clear = seen.ready > 0 and len(seen.loads) >= seen.replicas
        return self._replace(risen_at=now if is_clear else None, known=frozenset(seen.loads))

    def after(self, seen: Observation, now: float) -> "StartTime":
        """Learn of the workers that hold their first thread, as long as threads wait for them."""
        if self.risen_at is None:
            return self
        seconds, bound_at = self.seconds, self._first_binds(seen, now)
        for at in bound_at.values():
            seconds += WEIGHT * (max(LEAST_SECONDS, at - self.risen_at) - seconds)
        return StartTime(seconds, self.risen_at if seen.ready else None, self.known | set(bound_at))

    def _first_binds(self, seen: Observation, now: float) -> dict[str, float]:
        found: dict[str, float] = {}
        for hold in (hold for state in seen.shards for hold in state.held):
            if hold.busy_seconds > 0 and hold.worker not in self.known:
                found[hold.worker] = min(now - hold.busy_seconds, found.get(hold.worker, now))
        return found
