"""
Other writers of the same workload's replicas: an HPA, a ScaledObject, a number in Git. Pure.

A write that is undone once may have collided with a person's, so the operator writes again. When a second write is
undone within a minute, the two writers would never stop: the operator rests, names the other writer in a condition,
and tries again after five minutes.
"""

from dataclasses import dataclass
from math import inf

from sharded_queue_operator.resource.conditions import CONTESTED, Condition
from sharded_queue_operator.resource.deployment import MANAGER
from sharded_queue_operator.resource.name import Name

UNDOS = 2
"""Writes undone until the other writer counts as a program: an HPA undoes one every 15 s."""
UNDONE_SECONDS = 60.0
"""Replicas that stood longer than this were not undone but changed."""
REST_SECONDS = 300.0
"""From the other writer's last write until the operator tries again; then one undone write is enough."""


@dataclass(slots=True)
class Contest:
    """The operator's last write of one workload's replicas, and what became of it."""

    written: int
    at: float
    undos: int = 0
    is_undone: bool = False
    wanted: int | None = None
    rests_until: float = float("-inf")


class Contests:
    def __init__(self) -> None:
        self._known: dict[Name, Contest] = {}

    def wrote(self, name: Name, replicas: int, now: float) -> None:
        """The operator set the replicas of a workload."""
        before = self._known.get(name)
        self._known[name] = Contest(replicas, now, min(before.undos, UNDOS - 1) if before else 0)

    def forget(self, name: Name) -> None:
        self._known.pop(name, None)

    def rests(self, name: Name, wanted: int, writer: str, now: float) -> bool:
        """Whether to leave the replicas alone. The server says that *writer* set them to *wanted*."""
        contest = self._known.get(name)
        if contest is None:
            return False
        if wanted == contest.written or writer in {"", MANAGER}:
            if now - contest.at > UNDONE_SECONDS and now >= contest.rests_until:
                contest.undos = 0
        elif not contest.is_undone or contest.wanted != wanted:
            self._undone(contest, wanted, now)
        return now < contest.rests_until

    def next_change(self, name: Name, now: float) -> float:
        """When time alone ends a rest, or the time in which a write counts as undone; inf for never."""
        contest = self._known.get(name)
        ends = (contest.rests_until, contest.at + UNDONE_SECONDS) if contest else ()
        return min((at for at in ends if at >= now), default=inf)

    def _undone(self, contest: Contest, wanted: int, now: float) -> None:
        if not contest.is_undone:
            contest.undos = contest.undos + 1 if now - contest.at <= UNDONE_SECONDS else 1
        contest.is_undone, contest.wanted = True, wanted
        if contest.undos >= UNDOS:
            contest.rests_until = now + REST_SECONDS


def condition(*, rests: bool, writer: str, applier: str = "") -> Condition:
    """*applier*: a manager that applies the replicas again and again, however seldom."""
    if applier:
        message = (
            f"{applier} applies spec.replicas of the workers, so the operator leaves the number alone; remove the"
            " replicas from what it applies, or set scaling.mode to Recommend"
        )
        return Condition(CONTESTED, "True", "ReplicasApplied", message)
    if not rests:
        return Condition(CONTESTED, "False", "NobodyElseScales", "no other writer keeps changing the number of workers")
    message = (
        f"{writer} keeps undoing the operator's number of workers, so the operator leaves it alone; remove the"
        " HorizontalPodAutoscaler, the ScaledObject or the replicas in Git, or set scaling.mode to Recommend"
    )
    return Condition(CONTESTED, "True", "ReplicasUndone", message)
