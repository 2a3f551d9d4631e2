"""What is known of a queue at the time of a decision."""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from sharded_queue.state import ShardState


class Doubt(NamedTuple):
    """Why a queue, or part of it, is unknown: a word for machines and a sentence for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Observation:
    """
    The replicas of the workload, and the shards that answered at *read_at*.

    *doubt* is set when shards are missing from the answer. Those that answered are correct all the same. *is_hurried*:
    the reading came between two polls, because an empty queue got its first request or the spec changed.
    """

    replicas: int
    shards: Sequence[ShardState] = ()
    read_at: float = float("-inf")
    doubt: Doubt | None = None
    is_hurried: bool = False

    @property
    def depth(self) -> int:
        return sum(state.depth for state in self.shards)

    @property
    def threads(self) -> int:
        return sum(state.threads for state in self.shards)

    @property
    def ready(self) -> int:
        return sum(state.ready for state in self.shards)

    @property
    def bound(self) -> int:
        return sum(state.bound for state in self.shards)

    @property
    def blocked(self) -> int:
        return sum(state.blocked for state in self.shards)

    @property
    def lag_seconds(self) -> float:
        return max((state.lag_seconds for state in self.shards), default=0.0)

    @property
    def loads(self) -> Counter[str]:
        """How many threads with requests each worker holds."""
        return Counter(hold.worker for state in self.shards for hold in state.held if hold.busy_seconds > 0)

    @property
    def busy_lanes(self) -> Counter[str]:
        """How many lanes of each worker have a handler at work."""
        return Counter(hold.worker for state in self.shards for hold in state.held if hold.in_hand)

    @property
    def concurrencies(self) -> Set[int]:
        """The threads that a worker can hold, as the workers told lately."""
        return {number for state in self.shards for number in state.concurrencies}

    @property
    def unlisted_holds(self) -> int:
        return sum(state.unlisted_holds for state in self.shards)
