"""
The lanes that steady work takes, whatever one instant shows: the mean of a window. Pure.

Two measures, and the larger one counts. The handler's time of settled requests is exact, but a request that takes
longer than the window adds nothing before its end. Threads in workers' hands are counted at each reading; they include
what a thread costs beside its requests. A tenth more lanes are free, as requests come by chance and the wait for lanes
that are always busy has no end; but there are never more lanes than threads.
"""

from math import ceil
from typing import NamedTuple

from sharded_queue_operator.scaling.observation import Observation
from sharded_queue_operator.scaling.policy import Policy

SAMPLES = 20
"""
Of a window: enough for a mean, and few to remember. The mean is that of a window up to a twentieth shorter.
"""


LEAST_INFLOW_SECONDS = 10.0

SPARE = 1.1
"""Lanes beside those that are busy: 5.5 for five. The more there are, the less the chance of a moment weighs."""


class Sample(NamedTuple):
    """
    Seconds until the moment *at*: of handlers for settled requests, of threads in workers' hands, of all threads that
    workers could have, and of what the requests that came will take.
    """

    at: float
    handled: float = 0.0
    held: float = 0.0
    there: float = 0.0
    came: float = 0.0


class Done(NamedTuple):
    """Between two readings: the seconds of *handled* requests, and those that the requests which *came* will take."""

    handled: float
    came: float


class Work(NamedTuple):
    """The samples of the last window."""

    samples: tuple[Sample, ...] = ()

    def after(self, seen: Observation, done: Done, held: int, window: float, now: float) -> "Work":
        """
        With a reading of now: what was *done* since the last one, and the number of lanes that have requests now.
        """
        if not self.samples:
            return Work((Sample(now),))
        last = self.samples[-1]
        seconds, there = now - last.at, held + sum(state.ready for state in seen.shards if not state.is_paused)
        new = Sample(
            now,
            last.handled + done.handled,
            last.held + held * seconds,
            last.there + there * seconds,
            last.came + done.came,
        )
        is_crowded = len(self.samples) > 1 and last.at - self.samples[-2].at < window / SAMPLES
        kept = (*(self.samples[:-1] if is_crowded else self.samples), new)
        first = next(place for place, sample in enumerate(kept) if sample.at >= now - window)
        return Work(kept[min(first, len(kept) - 2) :])

    def lanes(self, window: float) -> float:
        """The lanes that the mean of the window takes. What came before the first reading counts as nothing."""
        if len(self.samples) < 2:
            return 0.0
        first, last = self.samples[0], self.samples[-1]
        busy = max(last.handled - first.handled, last.held - first.held)
        return max(busy, min(SPARE * busy, last.there - first.there)) / max(window, last.at - first.at)

    @property
    def inflow(self) -> float:
        """The lanes that new requests ask for; of few seconds it would be that of a burst."""
        if len(self.samples) < 2:
            return 0.0
        first, last = self.samples[0], self.samples[-1]
        return (last.came - first.came) / max(LEAST_INFLOW_SECONDS, last.at - first.at)


def least_holders(seen: Observation, policy: Policy) -> int:
    """
    The fewest workers that can hold the threads held now, and at most those that hold them. Each hold that is not
    listed may belong to another worker.
    """
    loads, unlisted = seen.loads, seen.unlisted_holds
    holders = min(len(loads) + unlisted, ceil((sum(loads.values()) + unlisted) / policy.threads_per_replica))
    return min(seen.replicas, holders)


def busy_lanes(seen: Observation, policy: Policy) -> int:
    """Lanes with a thread that has requests, as far as the workers there have lanes."""
    threads = sum(seen.loads.values()) + seen.unlisted_holds
    return min(threads, least_holders(seen, policy) * policy.threads_per_replica)
