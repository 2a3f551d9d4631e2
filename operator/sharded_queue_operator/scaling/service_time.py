"""
Seconds per request, learned from the counters that workers keep in the storage.

Both counters grow in the script that settles a batch, so the handler's time over the requests settled between two reads
is exact, however long the reads lie apart, and idle time never enters it.
"""

from typing import NamedTuple

from sharded_queue.state import ShardState

UNKNOWN_SECONDS = 0.02
"""
What a request is taken to last before the first one was settled: a database statement or a call of a near service.
Rather short than long: more is asked for at once when the truth comes in, but too many stay for the whole window.
"""

UNKNOWN_WEIGHT = 5.0
"""So many requests of `UNKNOWN_SECONDS` stand in for experience, lest one cold start multiplies the workers."""

HALF_LIFE_SECONDS = 60.0
"""
What was learned counts half after so much *handling* time. Counted in the handler's time, 3,000 requests of 20 ms weigh
as much as six of 10 s, and what is known of a queue outlasts a night without requests.
"""


class Counters(NamedTuple):
    """A shard's counters at one moment; *born* tells whose they are."""

    born: int | None
    settled: int
    busy_seconds: float

    @classmethod
    def of(cls, state: ShardState) -> "Counters":
        return cls(state.born, state.settled, state.busy_seconds)

    def is_followed_by(self, later: "Counters") -> bool:
        """Whether the difference means anything: the same data, and no failover that lost the newest writes."""
        return self.born == later.born and self.settled <= later.settled and self.busy_seconds <= later.busy_seconds


class Pace(NamedTuple):
    """Requests and the handler's time for them, the past fading out."""

    settled: float = UNKNOWN_WEIGHT
    busy_seconds: float = UNKNOWN_WEIGHT * UNKNOWN_SECONDS

    @classmethod
    def known(cls, seconds: float) -> "Pace":
        """The pace that was learned before this process started."""
        return cls(HALF_LIFE_SECONDS / max(seconds, 1e-6), HALF_LIFE_SECONDS)

    @property
    def seconds(self) -> float:
        return self.busy_seconds / self.settled

    def after(self, settled: int, busy_seconds: float) -> "Pace":
        kept = 0.5 ** (busy_seconds / HALF_LIFE_SECONDS)
        return Pace(kept * self.settled + settled, kept * self.busy_seconds + busy_seconds)
