"""
The turns of rollouts that the operator's own release causes. Pure.

A release of the operator that makes another pod template of the same specs would roll the workers of all queues at
once. So few roll at a time, three that fail stop the rest, and what the next leader must know is written on the
Deployments. A rollout that a user asks for waits for nothing, and counts for nothing.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Literal

from sharded_queue.printable import counted
from sharded_queue_operator.resource.conditions import OUTDATED, STOPPED, Condition
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.rendering import RELEASE, Rendering, Stage
from sharded_queue_operator.resource.spec import ROLLOUT, Resource
from sharded_queue_operator.resource.workload import Workload

MOST_FAILURES = 3
"""Failed rollouts that stop the rest."""

NAMED = 3
"""Failed queues that a message names."""

Turn = Literal["Now", "OutOfTurn", "Waits"]


class Rollouts:
    """By resource: which rollouts are under way, which failed, and which wait. *percent*: of all queues."""

    def __init__(self, percent: int) -> None:
        self._percent = percent
        self._under_way: set[Name] = set()
        self._failed: set[Name] = set()
        self._forgiven: set[Name] = set()
        self._held: set[Name] = set()
        self._waiting: dict[Name, None] = {}
        """In the order in which they came."""
        self.is_counted = False
        """Whether all Deployments are known: until then, a new leader does not know what is under way."""

    def note(self, resource: Name, stage: Stage | None) -> None:
        """*stage* of a rollout that had its turn; None for any other."""
        for stages, named in ((self._under_way, "UnderWay"), (self._failed, "Failed")):
            (stages.add if stage == named else stages.discard)(resource)

    def claim(self, resource: Resource) -> None:
        """Note what the user says of the rollouts of a resource."""
        for names, word in ((self._forgiven, "go"), (self._held, "hold")):
            (names.add if resource.rollout == word else names.discard)(resource.name)

    def forget(self, resource: Name) -> None:
        for names in (self._under_way, self._failed, self._forgiven, self._held):
            names.discard(resource)
        self.end_wait(resource)

    def turn(self, resource: Resource, present: Rendering | None, workload: Workload, queues: int) -> Turn:
        """Whether a resource may take another template now, of this many *queues*; one that may not is waiting."""
        turn = self._turn(resource, present, workload, queues)
        if turn == "Waits":
            self._waiting[resource.name] = None
        else:
            self.end_wait(resource.name)
        return turn

    def _turn(self, resource: Resource, present: Rendering | None, workload: Workload, queues: int) -> Turn:
        if resource.rollout == "go" or (present and not present.is_asked_by(resource)):
            return "OutOfTurn"
        if resource.rollout == "hold":
            return "Waits"
        if workload.problem or 0 in {workload.wanted, workload.ready}:  # there is nothing that the rollout could harm
            return "OutOfTurn"
        return "Now" if self._room(queues) else "Waits"

    def end_wait(self, resource: Name) -> None:
        self._waiting.pop(resource, None)

    def may_roll(self, resource: Name, queues: int) -> bool:
        """Whether a resource waits and there is room for its rollout."""
        return resource in self._waiting and resource not in self._held and self._room(queues) > 0

    def next(self, queues: int) -> Sequence[Name]:
        """Resources that wait, as many as may roll now."""
        room = self._room(queues)
        return list(islice((name for name in self._waiting if name not in self._held), room)) if room else ()

    def _room(self, queues: int) -> int:
        """How many more rollouts may begin. At a time, a part of the *queues* roll, and at least one."""
        if not self.is_counted or len(self._failures()) >= MOST_FAILURES:
            return 0
        return max(0, max(1, queues * self._percent // 100) - len(self._under_way))

    def _failures(self) -> set[Name]:
        return self._failed - self._forgiven

    @property
    def waiting(self) -> Sequence[Name]:
        return list(self._waiting)

    def stages(self) -> dict[str, int]:
        """How many resources are in each stage."""
        return {"under_way": len(self._under_way), "failed": len(self._failures()), "waiting": len(self._waiting)}

    def condition(self, resource: Name) -> Condition:
        """Its message does not change with each rollout: that would be a write a queue."""
        if resource not in self._waiting:
            return Condition(OUTDATED, "False", "UpToDate", "no other pod template waits for its turn")
        template = f"release {RELEASE} of the operator makes another pod template of this spec"
        if resource in self._held:
            return Condition(OUTDATED, "True", "Held", f"{template}; the annotation {ROLLOUT}=hold keeps this one")
        if len(self._failures()) >= MOST_FAILURES:
            return Condition(OUTDATED, "True", STOPPED, f"{template}; {self._stop()}")
        few = f"{self._percent} % of the queues, and at least one, roll at a time"
        return Condition(OUTDATED, "True", "Waits", f"{template}; {few}, and this one waits for its turn")

    def _stop(self) -> str:
        failed = sorted(self._failures())
        names = ", ".join(f"{name.namespace}/{name.name}" for name in failed[:NAMED])
        return (
            f"{counted(len(failed), 'rollout')} of it failed ({names}), so the rest stopped: mend these queues, or"
            f" annotate each with {ROLLOUT}=go"
        )
