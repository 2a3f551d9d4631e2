"""
Seconds per request, learned from counters that workers keep in the storage.

The script that settles a batch increments both counters. So the handler's time divided by the requests settled between
two reads is exact, however long the reads lie apart, and idle time never enters it.
"""

from typing import NamedTuple

from sharded_queue.state import ShardState

UNKNOWN_SECONDS = 0.02
"""
The assumed service time of a request before the first one is settled: a database statement or a call to a near service.
Rather too short than too long: missing workers are added as soon as the truth is known, superfluous ones stay for the
whole window.
"""

UNKNOWN_WEIGHT = 5.0
"""
The assumption counts as this many requests, so that one cold start does not multiply the workers.
"""

HALF_LIFE_SECONDS = 60.0
"""
The *handling* time after which what was learned counts half. Measured in the handler's time, 3,000 requests of 20 ms
weigh as much as six of 10 s, and what is known of a queue outlasts a night without requests.
"""


def guessed(proved: float) -> float:
    """
    Seconds per request while none is settled, from what the batches in hand prove. A batch that has outlasted the
    assumption is taken for half done at each moment, so that the guess doubles when its time does.
    """
    return max(UNKNOWN_SECONDS, 2 * proved - UNKNOWN_SECONDS)


def proved_seconds(state: ShardState, watched_seconds: float) -> float:
    """
    Seconds that a request takes at least, where none was settled in the last *watched_seconds*: of n requests that a
    handler has had for t seconds without settling them, the mean is t / n or more.
    """
    handed = [hold for hold in state.held if hold.in_hand and hold.lease_seconds > 0]
    return max((min(watched_seconds, hold.busy_seconds) / hold.in_hand for hold in handed), default=0.0)


class Settled(NamedTuple):
    """Requests settled between two readings, and the handler's time for them."""

    settled: int
    busy_seconds: float


class Counters(NamedTuple):
    """A shard's counters at one moment; *born* is the marker of the data they belong to."""

    born: int | None
    settled: int
    busy_seconds: float
    registered: int = 0

    @classmethod
    def of(cls, state: ShardState) -> "Counters":
        return cls(state.born, state.settled, state.busy_seconds, state.registered)

    def is_followed_by(self, later: "Counters") -> bool:
        """Whether *later* minus this means anything: the data are the same, and no failover lost the last writes."""
        return self.born == later.born and self.settled <= later.settled and self.busy_seconds <= later.busy_seconds

    def settled_until(self, later: "Counters") -> Settled | None:
        """None where nothing was settled, or nobody knows."""
        if not self.is_followed_by(later) or self.settled == later.settled:
            return None
        return Settled(later.settled - self.settled, later.busy_seconds - self.busy_seconds)


class ServiceTime(NamedTuple):
    """Requests and the handler's time for them, older ones weighing less."""

    settled: float = UNKNOWN_WEIGHT
    busy_seconds: float = UNKNOWN_WEIGHT * UNKNOWN_SECONDS

    @classmethod
    def restored(cls, seconds: float) -> "ServiceTime":
        """What an earlier process learned."""
        return cls(HALF_LIFE_SECONDS / max(seconds, 1e-6), HALF_LIFE_SECONDS)

    @property
    def seconds(self) -> float:
        return self.busy_seconds / self.settled

    def including(self, settled: int, busy_seconds: float) -> "ServiceTime":
        kept = 0.5 ** (busy_seconds / HALF_LIFE_SECONDS)
        return ServiceTime(kept * self.settled + settled, kept * self.busy_seconds + busy_seconds)
