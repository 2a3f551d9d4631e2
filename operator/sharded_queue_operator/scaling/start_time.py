"""
Seconds from a rise of the replicas to a new worker's first thread, learned from who holds threads after it. Pure.

Workers are taken to start in the order in which they were asked for. Only those that found a thread waiting count: the
first thread of others says when the thread came. So do only rises to which no idle worker could answer.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sharded_queue_operator.scaling.observation import Observation

UNKNOWN_SECONDS = 1.0
"""The assumed start of a worker before the first one was seen: a pod whose image is on its node."""

LEAST_SECONDS = 0.1
"""No worker starts sooner: an earlier first thread was that of a worker that was there before."""

MOST_SECONDS = 300.0
"""A worker that is not there by then is kept from starting, and teaches nothing."""

SURELY = 2.0
"""Workers that are awaited for this multiple of what was learned take longer now: a node is added, an image pulled."""

WEIGHT = 0.5
"""Of each new worker, in the mean. So what a start took when all pods started together is soon forgotten."""


class Rise(NamedTuple):
    """
    Workers that were asked for at a moment and are still awaited. *is_alone*: no others were on their way then, so that
    they tell what a start takes.
    """

    at: float
    workers: int
    is_alone: bool


class StartTime(NamedTuple):
    """
    What a start takes, *learned* as far as it was, and *seconds* now: never less than half of what the first awaited
    worker has taken already. *rises* are the workers on their way, and *known* those that held threads before, so that
    each new one counts once.
    """

    learned: float = UNKNOWN_SECONDS
    rises: tuple[Rise, ...] = ()
    known: frozenset[str] = frozenset()
    awaited_seconds: float = 0.0
    """Since the first of the rises."""

    @property
    def seconds(self) -> float:
        is_longer = self.awaited_seconds >= SURELY * self.learned
        return min(self.awaited_seconds, MOST_SECONDS) if is_longer else self.learned

    @property
    def awaited(self) -> int:
        return sum(rise.workers for rise in self.rises)

    def after_rise(self, seen: Observation, replicas: int, now: float) -> "StartTime":
        """Wait for new workers, unless an idle one may be taken for them, or no thread waits for them."""
        if not seen.ready or len(seen.loads) < seen.replicas - self.awaited:
            return StartTime(self.learned)
        known = (self.known if self.rises else frozenset()) | frozenset(seen.loads)
        rises = (*self.rises, Rise(now, replicas - seen.replicas, not self.rises))
        return StartTime(self.learned, rises, known, now - rises[0].at)

    def after(self, seen: Observation, now: float) -> "StartTime":
        """Learn of the workers that hold their first thread, the first awaited first, as long as threads wait."""
        if not self.rises:
            return self
        learned, rises, bound_at = self.learned, self.rises, self._first_binds(seen, now)
        for at in sorted(bound_at.values()):
            if rises:
                learned += WEIGHT * self._replace(learned=learned)._lesson(rises, at)
                rises = (rises[0]._replace(workers=rises[0].workers - 1), *rises[1:])
                rises = rises if rises[0].workers else rises[1:]
        if not seen.ready or not rises:
            return StartTime(learned)
        return StartTime(learned, rises, self.known | set(bound_at), now - rises[0].at)

    def _lesson(self, rises: Sequence[Rise], at: float) -> float:
        """By how much the start of a worker differs; where others joined it, only one that is surely slow counts."""
        seconds = min(MOST_SECONDS, max(LEAST_SECONDS, at - rises[0].at))
        is_clear = rises[0].is_alone and (len(rises) == 1 or seconds >= SURELY * self.learned)
        return seconds - self.learned if is_clear else 0.0

    def worked_by_then(self, replicas: int, now: float) -> float:
        """The seconds that *replicas* workers will have worked when one that is asked for now has started."""
        there = max(0, replicas - self.awaited) * self.seconds
        return there + sum(rise.workers * min(self.seconds, now - rise.at) for rise in self.rises)

    def _first_binds(self, seen: Observation, now: float) -> dict[str, float]:
        found: dict[str, float] = {}
        for hold in (hold for state in seen.shards for hold in state.held):
            if hold.busy_seconds > 0 and hold.worker not in self.known:
                found[hold.worker] = min(now - hold.busy_seconds, found.get(hold.worker, now))
        return found
