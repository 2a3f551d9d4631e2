"""A ShardedQueue as a row of the page: its state in a word, its numbers, and what its conditions say. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sharded_queue.printable import be, counted
from sharded_queue.web.added_page import Content, Fact, Remark, Row, Tone
from sharded_queue_operator.console.lines import Point, line
from sharded_queue_operator.errors import BadSpec
from sharded_queue_operator.resource.conditions import (
    AVAILABLE,
    INFORMING,
    NORMAL_TRUE,
    NOT_STARTED,
    OUTDATED,
    PINNED,
    READY,
    ROLLING_OUT,
    STOPPED,
    Conditions,
    by_type,
)
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Spec, parsed

Body = Mapping[str, Any]
Condition = Mapping[str, Any]
State = tuple[str, Tone]

HELD: Mapping[str, State] = {
    "Suspended": ("suspended", "idle"),
    "Pinned": ("pinned", "good"),
    "Recommending": ("recommends only", "idle"),
    "Paused": ("scaling paused", "idle"),
}
"""By the reason of `Ready`: its author asked that the operator chooses no number."""
NOT_READY: State = ("not ready", "bad")
NEEDS_A_LOOK: State = ("needs a look", "wait")
ROLLS_OUT: State = ("rolling out", "wait")
FIRST = (NOT_READY, NEEDS_A_LOOK, ROLLS_OUT)
"""The order of queues of these states; all others come after them, by their names."""
WORST_FIRST: Sequence[Tone] = ("bad", "wait", "idle", "good")


class Fault(NamedTuple):
    """A condition that is not as it should be."""

    type: str
    message: str
    remark: Remark


class Queue:
    """A ShardedQueue, read for people."""

    def __init__(self, body: Body) -> None:
        self.name, self.uid = str(Name.of(body)), str(body["metadata"].get("uid", ""))
        self.status: Mapping[str, Any] = body.get("status") or {}
        self.conditions: Conditions = by_type(self.status)
        self.is_decided = self.status.get("observedGeneration", 0) >= body["metadata"].get("generation", 0)
        self.spec, self.unread = _spec(body)
        self.faults = faults(self.conditions)
        self.state = self._state()

    @property
    def workers(self) -> int:
        return int(self.status.get("replicas", 0))

    @property
    def lanes(self) -> int:
        return int((self.status.get("threads") or {}).get("bound", 0))

    @property
    def rank(self) -> tuple[int, str]:
        """Those that somebody must look at come first."""
        return FIRST.index(self.state) if self.state in FIRST else len(FIRST), self.name

    def answer(self, further: int) -> tuple[str, Tone, str]:
        """What is wrong with it, and that something is with *further* ones."""
        (word, tone), fault = self.state, self.faults[0]
        head = f"ShardedQueue {self.name} {word if self.state == NEEDS_A_LOOK else f'is {word}'}"
        more = f"; {counted(further, 'further one')} {'needs' if further == 1 else 'need'} a look" if further else ""
        return f"{head}: {fault.message}{more}", tone, f"{self.name} {fault.type}"

    def row(self, points: Sequence[Point]) -> Row:
        remarks = [*(fault.remark for fault in self.faults), *self._news()]
        return Row(self.name, *self.state, str(self.status.get("message", "")), list(self._facts(points)), remarks)

    def _state(self) -> State:
        ready = self.conditions.get(READY, {})
        if self.faults and self.faults[0].remark.tone == "bad":
            return NOT_READY
        if _is_rolling_out(ready):
            return ROLLS_OUT
        if self.faults:
            return NEEDS_A_LOOK
        if not self.is_decided or self.status.get("desiredReplicas") is None:
            return "not decided yet", "wait"
        return HELD.get(str(ready.get("reason")), ("ready", "good"))

    def _news(self) -> Iterator[Remark]:
        """What is worth a sentence though nothing is wrong."""
        if self.status and not self.is_decided:
            yield Remark("The operator has not acted on the newest spec yet", "wait")
        for each in self.conditions.values():
            if each["type"] in INFORMING and each.get("status") == "True" and not _is_wrong(each):
                yield Remark(_sentence(each), "idle")
        available = self.conditions.get(AVAILABLE, {})
        if available.get("reason") == NOT_STARTED:
            yield Remark(_sentence(available), "idle")
        if self.unread:
            yield Remark(f"This console cannot read the spec: {self.unread}", "idle")

    def _facts(self, points: Sequence[Point]) -> Iterator[Fact]:
        desired, ready = self.status.get("desiredReplicas"), self.status.get("readyReplicas", 0)
        yield Fact("Desired", "–" if desired is None else f"{desired:,}{self._recommended(desired)}")
        yield Fact("Current", f"{self.workers:,}, {ready:,} ready")
        if self.spec:
            yield Fact("Bounds", self._bounds(self.spec))
        yield Fact("Lanes", f"{counted(self.lanes, 'thread')} held")
        yield Fact("Workers, five minutes", line=line(points, "workers"))
        yield Fact("Lanes, five minutes", line=line(points, "lanes"))
        if self.spec:
            yield Fact("Handlers", handlers=[handler.name for handler in self.spec.handlers])

    def _recommended(self, desired: int) -> str:
        """What the queue alone asks for, where that is another number."""
        number = self.status.get("recommendedReplicas", desired)
        return "" if number == desired else f", {number:,} recommended"

    def _bounds(self, spec: Spec) -> str:
        bounds = f"{spec.scaling.min_replicas:,} to {spec.scaling.max_replicas:,}"
        is_pinned = spec.replicas is not None and self.conditions.get(PINNED, {}).get("status") != "False"
        return f"{bounds}, pinned to {spec.replicas:,}" if is_pinned else bounds


def content(queues: Sequence[Queue], lines: Mapping[str, Sequence[Point]], unlisted: int) -> Content:
    """*lines*: by uid. *unlisted*: how many further resources there are."""
    queues = sorted(queues, key=lambda queue: queue.rank)
    note = f"{counted(unlisted, 'further ShardedQueue')} {be(unlisted)} not listed." if unlisted else ""
    rows = [queue.row(lines.get(queue.uid, ())) for queue in queues]
    return Content(*answer(queues), rows, note)


def answer(queues: Sequence[Queue]) -> tuple[str, Tone, str]:
    """What a person who runs workers wants to know first, its tone and its key."""
    if not queues:
        return "There is no ShardedQueue here", "idle", "none"
    if wrong := [queue for queue in queues if queue.faults]:
        return wrong[0].answer(further=sum(queue.state != ROLLS_OUT for queue in wrong[1:]))
    workers = counted(sum(queue.workers for queue in queues), "worker")
    have, report = ("has", "reports") if len(queues) == 1 else ("have", "report")
    return f"{counted(len(queues), 'ShardedQueue')} {have} {workers}, and {report} no problem", "good", "no problem"


def faults(conditions: Conditions) -> list[Fault]:
    """What is wrong, the worst first. `Ready` is left out where another condition says why it is False."""
    ready = conditions.get(READY, {"type": READY, "status": "True"})
    wrong = [each for each in conditions.values() if each["type"] != READY and _is_wrong(each)]
    causes = [each for each in wrong if _is_wrong(ready) and _says_why(each, ready)]
    shown = wrong if causes or not _is_wrong(ready) else [ready, *wrong]
    found = [_fault(each, is_cause=each in causes) for each in shown]
    return sorted(found, key=lambda fault: WORST_FIRST.index(fault.remark.tone))


def _fault(condition: Condition, *, is_cause: bool) -> Fault:
    """Workers that do not follow the queue are worse than a thread to look at, or a release on its way."""
    is_bad = (is_cause or condition["type"] in NORMAL_TRUE) and not _is_rolling_out(condition)
    message = str(condition.get("message") or condition.get("reason", ""))
    return Fault(condition["type"], message, Remark(_sentence(condition), "bad" if is_bad else "wait"))


def _says_why(condition: Condition, ready: Condition) -> bool:
    is_same = (condition.get("status"), condition.get("message")) == (ready.get("status"), ready.get("message"))
    return is_same or condition["type"] == ready.get("reason")


def _spec(body: Body) -> tuple[Spec | None, str]:
    """The spec, or why it cannot be read: it may be of a later release than this console."""
    try:
        return parsed(body).spec, ""
    except BadSpec as error:
        return None, str(error)


def _is_wrong(condition: Condition) -> bool:
    if condition["type"] in INFORMING:
        return condition["type"] == OUTDATED and condition.get("reason") == STOPPED
    return (condition.get("status") == "True") != (condition["type"] in NORMAL_TRUE)


def _is_rolling_out(condition: Condition) -> bool:
    return condition.get("status") == "False" and condition.get("reason") == ROLLING_OUT


def _sentence(condition: Condition) -> str:
    status, reason = condition.get("status", ""), condition.get("reason", "")
    return f"{condition['type']} is {status}, {reason}: {condition.get('message', '')}"
