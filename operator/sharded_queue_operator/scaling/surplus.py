"""
How workers go when there are to be fewer of them. Pure.

The rule: a worker is let go only when it holds nothing, so that no scale-down cuts a request. Workers beyond the wanted
number are the surplus. They are cordoned: each takes no new threads, and hands those that it has over after its batch.
The replicas fall by as many as are empty, at once for those, and later for the others.

                        holds nothing, by a reading         the replicas fall
             surplus    from after its cordon               by those that are empty
      WANTED ------> CORDONED ----------------------> EMPTY ---------------------> GONE
         ^               |                              |
         +---------------+-------- wanted again --------+

More demand makes the surplus smaller, and so lifts cordons before a worker is added. A cordon ends by itself: where the
operator restarts between a cordon and the fall, the next one begins with no cordons and chooses again.
"""

from collections.abc import Mapping, Sequence, Set
from enum import Enum
from itertools import takewhile
from types import MappingProxyType
from typing import NamedTuple

SWAPS = 3
"""
How often idle workers take the place of cordoned ones in one scale-down. A worker may get a thread just before its
cordon, and then another one is chosen: a limit ends that.
"""


class Stage(Enum):
    """Where a worker is on its way out."""

    WANTED = "takes threads"
    CORDONED = "takes no threads, and may hold some"
    EMPTY = "holds nothing, and cannot get anything"
    GONE = "let go"


class Removal(Enum):
    """Which workers a workload removes when its replicas fall."""

    CHOSEN = "those that are not ready, then those that we mark"
    HIGHEST = "the highest ordinals"
    UNKNOWN = "any"


class Candidate(NamedTuple):
    """
    A worker that is not leaving. *threads* are those that it holds with requests, *holds* all that it holds.
    *progress*: as in a pod, 3 for a worker that is ready.
    """

    name: str
    threads: int = 0
    holds: int = 0
    progress: int = 3
    created: str = ""
    ordinal: int = -1


class Cordons(NamedTuple):
    """Since when workers are cordoned, by name, and how often one took the place of another."""

    since: Mapping[str, float] = MappingProxyType({})
    swaps: int = 0


class Plan(NamedTuple):
    """The stage of each worker, and the replicas that may be set now."""

    stages: Mapping[str, Stage]
    replicas: int

    def names(self, *stages: Stage) -> frozenset[str]:
        return frozenset(name for name, stage in self.stages.items() if stage in stages)

    @property
    def surplus(self) -> frozenset[str]:
        """Workers that have to be cordoned."""
        return self.names(Stage.CORDONED, Stage.EMPTY, Stage.GONE)


def plan_scale_down(
    workers: Sequence[Candidate],
    wanted: int,
    replicas: int,
    cordons: Cordons,
    read_at: float,
    removal: Removal = Removal.CHOSEN,
    first_ordinal: int = 0,
) -> Plan:
    """
    The step from *wanted* replicas towards *replicas*. What *workers* hold was read at *read_at*: a worker that was
    cordoned later may have got a thread since.
    """
    surplus = choose_surplus(workers, replicas, cordons, removal, first_ordinal)
    stages = {worker.name: _stage(worker, surplus, cordons, read_at) for worker in workers}
    if replicas >= wanted:
        return Plan(stages, replicas)
    lowered = min(wanted, max(replicas, _least(workers, wanted, stages, removal, first_ordinal)))
    gone = _let_go(workers, lowered, stages, removal, first_ordinal) if lowered < wanted else set()
    return Plan(stages | dict.fromkeys(gone, Stage.GONE), lowered)


def choose_surplus(
    workers: Sequence[Candidate], replicas: int, cordons: Cordons, removal: Removal, first_ordinal: int = 0
) -> set[str]:
    """
    The names of the workers that are to go. Where the workload removes any, all of them once none holds anything:
    until then none is cordoned, as that would stop the queue.
    """
    if removal is Removal.HIGHEST:
        return {worker.name for worker in workers if worker.ordinal >= first_ordinal + replicas}
    if removal is Removal.UNKNOWN:
        return set() if any(worker.holds for worker in workers) else {worker.name for worker in workers}
    is_settled = cordons.swaps >= SWAPS
    newest = sorted(workers, key=lambda worker: worker.created, reverse=True)

    def rank(worker: Candidate) -> tuple[int, ...]:
        is_new = worker.name not in cordons.since
        return worker.progress, is_settled and is_new, worker.threads, is_new

    return {worker.name for worker in sorted(newest, key=rank)[: max(0, len(workers) - replicas)]}


def count_swaps(cordons: Cordons, surplus: Set[str]) -> int:
    """With a swap more if *surplus* replaces workers that are cordoned."""
    is_swap = bool(cordons.since.keys() - surplus) and bool(surplus - cordons.since.keys())
    return cordons.swaps + is_swap


def _stage(worker: Candidate, surplus: Set[str], cordons: Cordons, read_at: float) -> Stage:
    if worker.name not in surplus:
        return Stage.WANTED
    is_empty = not worker.holds and cordons.since.get(worker.name, read_at) < read_at
    return Stage.EMPTY if is_empty else Stage.CORDONED


def _least(
    workers: Sequence[Candidate], wanted: int, stages: Mapping[str, Stage], removal: Removal, first_ordinal: int
) -> int:
    """The fewest replicas that keep all workers that may hold something."""
    if removal is Removal.HIGHEST:
        kept = [worker.ordinal for worker in workers if stages[worker.name] is not Stage.EMPTY]
        return max(kept, default=first_ordinal - 1) + 1 - first_ordinal
    if removal is Removal.UNKNOWN:
        return 0 if all(stage is Stage.EMPTY for stage in stages.values()) else wanted
    return len(workers) - len(_first_to_go(workers, stages))


def _first_to_go(workers: Sequence[Candidate], stages: Mapping[str, Stage]) -> list[str]:
    """The empty workers that a ReplicaSet removes before any that may hold something."""
    surplus = [worker for worker in workers if stages[worker.name] is not Stage.WANTED]
    ordered = sorted(surplus, key=lambda worker: (worker.progress, stages[worker.name] is not Stage.EMPTY))
    return [worker.name for worker in takewhile(lambda worker: stages[worker.name] is Stage.EMPTY, ordered)]


def _let_go(
    workers: Sequence[Candidate], replicas: int, stages: Mapping[str, Stage], removal: Removal, first_ordinal: int
) -> set[str]:
    """Those that a fall to *replicas* removes; of a workload that removes any, all that it may."""
    if removal is Removal.HIGHEST:
        return {worker.name for worker in workers if worker.ordinal >= first_ordinal + replicas}
    if removal is Removal.UNKNOWN:
        return set(stages)
    return set(_first_to_go(workers, stages)[: max(0, len(workers) - replicas)])
