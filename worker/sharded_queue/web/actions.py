"""
What a person may do here: each button says beforehand what its act does and to how many, and then does just that.

An act is asked for twice: `ask` makes the question of the confirmation, and `perform` acts on what was confirmed.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from starlette.datastructures import QueryParams

from sharded_queue.admin.acts import Act, ActionContext, BadField, carry_out, given_fields, make
from sharded_queue.admin.delayed import Cancel, MoveDelayed, RunDelayed
from sharded_queue.admin.drop import DropRequests
from sharded_queue.admin.handlers import Named
from sharded_queue.admin.letters import DropLetters, ReplayLetters
from sharded_queue.admin.pause import Pause, Resume
from sharded_queue.admin.reshard import Reshard
from sharded_queue.admin.schedules import EditSchedule, RemoveSchedule, RunSchedule
from sharded_queue.admin.search import Search
from sharded_queue.errors import NotPossible
from sharded_queue.printable import be, printable
from sharded_queue.web.jobs import MOST_LEFT, Job

Form = QueryParams
"""The fields of an address, or of a form that was sent."""


class Forbidden(NotPossible):
    """The person may not do it, or nobody may do it here."""


class TooMany(NotPossible):
    """Questions of one person are answered one after the other, and too many wait."""


class Input(NamedTuple):
    """What a person is asked. *fault*: what is wrong with the *value*."""

    name: str
    label: str
    value: str = ""
    fault: str = ""
    kind: str = "text"
    """As in HTML."""
    is_required: bool = True


class Proposal(NamedTuple):
    """A question, what will happen, and the fields that `perform` needs."""

    question: str
    effect: str
    fields: Sequence[tuple[str, str]]
    is_possible: bool
    first: Input | None
    """What has to be said before the question can be asked."""
    beside: Sequence[Input]
    """What is asked beside the button."""


class Desk(NamedTuple):
    """What buttons work with."""

    context: ActionContext
    named: Callable[[str], Named | None]

    def handler(self, form: Form) -> Named:
        name = form.get("handler", "")
        found = self.named(name)
        if found is None:
            raise NotPossible(f"this console knows no handler {printable(name, 200)!r}")
        return found


class Button:
    """An act as pages offer it: under a name and a label of its own, and with some of its fields *said*."""

    def __init__(self, name: str, label: str, act: type[Act[Any]], **said: str) -> None:
        self.name, self.label, self.act, self.said = name, label, act, said
        self.role = act.right

    async def ask(self, desk: Desk, form: Form) -> Proposal:
        texts, wrong, fault = self._texts(form), "", ""
        try:
            plan = await self._made(desk, form, texts).plan(desk.context)
        except BadField as error:
            if not any(how.label and how.name == error.name for _, how in given_fields(self.act)):
                raise
            wrong, fault = texts.pop(error.name)[0], str(error)
            plan = await self._made(desk, form, texts).plan(desk.context)
        fields = [("handler", plan.act.handler.name), *plan.act.said()]
        first: Input | None = None
        beside: list[Input] = []
        for each, how in given_fields(self.act):
            if how.label and getattr(plan.act, each.name) is None:
                first = Input(how.name, how.label, wrong or plan.known, fault, how.kind)
            if how.question:
                beside.append(Input(how.name, how.question, is_required=how.is_required))
            if how.is_person or how.is_required or how.question or how.name in self.said:
                fields = [(name, text) for name, text in fields if name != how.name]
        return Proposal(plan.question, plan.effect, fields, bool(plan.total), first, beside)

    async def perform(self, desk: Desk, form: Form, job: Job) -> None:
        act = self._made(desk, form, self._texts(form, job.person))
        step = None
        async for step in carry_out(act, desk.context):
            job.total, job.noun, job.done = step.total, act.noun, step.done
        assert step
        job.left = dict(islice(step.left.items(), MOST_LEFT))
        many = len(step.left)
        words = [*act.sentences(step), *[f"{many:,} {be(many)} not"] * bool(many)]
        job.result = "; ".join(words)
        if not job.result.startswith(act.handler.name):
            job.result = job.result[0].upper() + job.result[1:]

    def _made(self, desk: Desk, form: Form, texts: Mapping[str, Sequence[str]]) -> Act[Any]:
        return make(self.act, desk.handler(form), texts)

    def _texts(self, form: Form, person: str = "") -> dict[str, list[str]]:
        """What the form says of the act. Who acts is no part of the form."""
        found = {how.name: [person] if how.is_person else form.getlist(how.name) for _, how in given_fields(self.act)}
        found |= {name: [text] for name, text in self.said.items()}
        return {name: texts for name, given in found.items() if (texts := [text for text in given if text])}


def search_of(form: Form) -> Search:
    return Search(form.get("text", ""), form.get("error", ""), form.get("of_thread", ""))


ACTIONS: Mapping[str, Button] = {
    button.name: button
    for button in (
        Button("pause", "Pause", Pause),
        Button("resume", "Resume", Resume),
        Button("resume-exhausted", "Try the exhausted again", Resume, exhausted="yes"),
        Button("reshard", "Change the number of threads", Reshard),
        Button("replay-tail", "Replay to the tail", ReplayLetters),
        Button("replay-head", "Replay to the head", ReplayLetters, head="yes"),
        Button("drop-letters", "Drop", DropLetters),
        Button("cancel", "Cancel", Cancel),
        Button("run-delayed", "Run now", RunDelayed),
        Button("move-delayed", "Move", MoveDelayed),
        Button("unschedule", "Remove the schedule", RemoveSchedule),
        Button("run-schedule", "Run now", RunSchedule),
        Button("edit-schedule", "Edit", EditSchedule),
        Button("drop-requests", "Drop", DropRequests),
    )
}
