"""What is known of a resource when a decision is made."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sharded_queue.state import ShardState


class Doubt(NamedTuple):
    """Why a queue, or a part of it, is unknown: a word for machines and a sentence for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Observation:
    """
    What is known of a resource: the workload's replicas, and the shards that answered at *read_at*.

    *doubt* is set when shards are missing from the answer; those that are there are true all the same.
    """

    replicas: int
    shards: Sequence[ShardState] = ()
    read_at: float = float("-inf")
    doubt: Doubt | None = None

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
    def useful_lanes(self) -> int:
        """Threads that a worker could hold now; a request whose time came a moment ago may be a thread of its own."""
        return sum(state.threads - state.parked + state.overdue for state in self.shards if not state.is_paused)

    @property
    def loads(self) -> Counter[str]:
        """Workers that hold threads with requests, and how many each."""
        return Counter(hold.worker for state in self.shards for hold in state.held if hold.busy_seconds > 0)

    @property
    def unlisted_holds(self) -> int:
        return sum(state.unlisted_holds for state in self.shards)
