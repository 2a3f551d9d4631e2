"""
What a person may do here: each action says beforehand what it does and to how many, and then does just that.

An action is asked for twice: `ask` makes the question of the confirmation, and `perform` acts on what was confirmed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import ClassVar, NamedTuple

from starlette.datastructures import QueryParams

from sharded_queue import timing
from sharded_queue.admin.acts import Act, ActionContext, BadField, carry_out, given_fields, make
from sharded_queue.admin.bodies import Bodies
from sharded_queue.admin.handlers import Named, NotPossible
from sharded_queue.admin.pause import Pause, Resume
from sharded_queue.admin.search import Search, find_all
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.letters import settle
from sharded_queue.printable import be, counted, instant, printable
from sharded_queue.steps import in_steps
from sharded_queue.storage import TOO_DEEP, Removal, Target, Waiting, check_due
from sharded_queue.timing import moment_ms
from sharded_queue.tube import Shard, threads_fault
from sharded_queue.web.jobs import MOST_LEFT, Job
from sharded_queue.web.people import Role

Form = QueryParams
"""The fields of an address, or of a form that was sent."""


class Forbidden(NotPossible):
    """The person may not do it, or nobody may do it here."""


class TooMany(NotPossible):
    """Questions of one person are answered one after the other, and too many wait."""


class Input(NamedTuple):
    """What a person has to say before the question can be asked. *fault*: what is wrong with the *value*."""

    name: str
    label: str
    value: str = ""
    fault: str = ""
    kind: str = "text"
    """As in HTML."""


class Proposal(NamedTuple):
    """A question, what will happen, the word on the button, and the fields that `perform` needs."""

    question: str
    effect: str
    fields: Sequence[tuple[str, str]]
    is_possible: bool = True
    needs_reason: bool = False
    """Whether the person has to say why."""
    first: Input | None = None


@dataclass(frozen=True)
class Desk:
    """What actions work with."""

    storage: RedisStorage
    named: Callable[[str], Named | None]
    bodies: Bodies

    @property
    def context(self) -> ActionContext:
        return ActionContext(self.storage, self.bodies)

    def handler(self, form: Form) -> Named:
        name = form.get("handler", "")
        found = self.named(name)
        if found is None:
            raise NotPossible(f"this console knows no handler {printable(name, 200)!r}")
        return found


class Action:
    name: str
    label: str
    role: Role = "operator"

    async def ask(self, desk: Desk, form: Form) -> Proposal:
        """
        Raises:
            NotPossible: it cannot be done.
        """
        raise NotImplementedError

    async def perform(self, desk: Desk, form: Form, job: Job) -> None:
        """Do it in the name of the job's person, and say in *job* what was done. May raise what `ask` may."""
        raise NotImplementedError


def one(form: Form, *names: str) -> list[tuple[str, str]]:
    """Fields of a form that are there, to be carried on."""
    return [(name, value) for name in names if (value := form.get(name, ""))]


def ticked(form: Form, name: str, noun: str) -> list[str]:
    """
    The values of a form's ticks. None never stands for all: `whole` does.

    Raises:
        NotPossible: there is none.
    """
    if names := form.getlist(name):
        return names
    raise NotPossible(f"no {noun} is ticked: go back, and tick those that you mean")


class Button(Action):
    """An act as pages offer it: under a name and a label of its own, and with some of its fields *said*."""

    def __init__(self, name: str, label: str, act: type[Act], **said: str) -> None:
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
        first, needs_reason = None, False
        for each, how in given_fields(self.act):
            if how.label and getattr(plan.act, each.name) is None:
                first = Input(how.name, how.label, wrong or plan.known, fault, how.kind)
            if how.is_person or how.is_required or how.name in self.said:
                fields = [(name, text) for name, text in fields if name != how.name]
            needs_reason = needs_reason or how.is_required
        return Proposal(plan.question, plan.effect, fields, bool(plan.total), needs_reason, first)

    async def perform(self, desk: Desk, form: Form, job: Job) -> None:
        act = self._made(desk, form, self._texts(form, job.person))
        step = None
        async for step in carry_out(act, desk.context):
            job.total, job.noun, job.done = step.total, act.noun, list(step.done)
        assert step
        job.left = dict(islice(step.left.items(), MOST_LEFT))
        many = len(step.left)
        words = [*act.sentences(step.answer), *[f"{many:,} {be(many)} not"] * bool(many)]
        job.result = "; ".join(words)
        if not job.result.startswith(act.handler.name):
            job.result = job.result[0].upper() + job.result[1:]

    def _made(self, desk: Desk, form: Form, texts: Mapping[str, Sequence[str]]) -> Act:
        return make(self.act, desk.handler(form), texts)

    def _texts(self, form: Form, person: str = "") -> dict[str, list[str]]:
        """What the form says of the act. Who acts is no part of the form."""
        found = {how.name: [person] if how.is_person else form.getlist(how.name) for _, how in given_fields(self.act)}
        found |= {name: [text] for name, text in self.said.items()}
        return {name: texts for name, given in found.items() if (texts := [text for text in given if text])}


class Reshard(Action):
    name, label, role = "reshard", "Change the number of threads", "admin"

    async def ask(self, desk: Desk, form: Form) -> Proposal:
        handler, threads = desk.handler(form), self._threads(desk, form)
        states = await desk.storage.observe(handler.shards, 0)
        layouts = [state.layout for state in states if state.layout]
        if not layouts:
            raise NotPossible(f"no request of {handler.name} was ever registered by key: set `threads` in its class")
        now = max(layouts, key=lambda layout: layout.number)
        effect = (
            f"They are spread over {counted(now.threads, 'thread')} now. A thread of the new layout waits "
            "until the threads of the old one that share keys with it are drained."
        )
        return Proposal(
            f"Spread the keys of {handler.name} over {counted(threads, 'thread')}?",
            effect,
            one(form, "handler", "threads"),
        )

    async def perform(self, desk: Desk, form: Form, job: Job) -> None:
        handler, threads = desk.handler(form), self._threads(desk, form)
        answers = [await desk.storage.reshard(shard, threads) for shard in handler.shards]
        undrained = sum(answer.undrained for answer in answers)
        job.result = f"The keys of {handler.name} are spread over {counted(threads, 'thread')}" + (
            f"; {counted(undrained, 'thread')} of the previous layout {be(undrained)} not drained" if undrained else ""
        )

    def _threads(self, desk: Desk, form: Form) -> int:
        text = form.get("threads", "")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0
        if fault := threads_fault(number, desk.handler(form).spread):
            raise NotPossible(f"the number of threads is {fault}")
        return number


SEARCHED = ("handler", "text", "error", "of_thread", "whole")
"""The fields that say of which letters an action is."""


class OfLetters(Action):
    """
    Something with dead letters: those that are ticked, or the whole of what a search finds.

    *until*: the newest letter of each shard when the person was asked. What died after that is left alone.
    """

    target: ClassVar[Target]
    verb: ClassVar[str]
    done: ClassVar[str]

    async def ask(self, desk: Desk, form: Form) -> Proposal:
        handler, search, fields = desk.handler(form), search_of(form), one(form, *SEARCHED)
        if form.get("whole"):
            until, number = await self._all(desk, handler, search)
            fields += [("until", f"{shard}:{last}") for shard, last in until.items()]
            which = f" {search.words}" * bool(search.words)
        else:
            names = list(dict.fromkeys(ticked(form, "letter", "letter")))
            numbers_in(names)
            fields += [("letter", name) for name in names]
            number, which = len(names), ""
        question = f"{self.verb} {counted(number, 'dead letter')} of {handler.name}{which}?"
        return Proposal(question, self.effect(number), fields, bool(number))

    async def _all(self, desk: Desk, handler: Named, search: Search) -> tuple[dict[int, int], int]:
        """The last number of each shard that has letters, and the number of letters until then that a search finds."""
        states = await desk.storage.observe(handler.shards, 0)
        until = {state.shard.number: state.dead for state in states if state.letters}
        if not any(search):
            return until, sum(state.letters for state in states)
        found = await find_all(desk.storage, handler, search, until, desk.bodies) if until else {}
        return until, sum(map(len, found.values()))

    def effect(self, number: int) -> str:
        raise NotImplementedError

    async def perform(self, desk: Desk, form: Form, job: Job) -> None:
        handler, chosen = desk.handler(form), await self._chosen(desk, form)
        job.total, job.noun = sum(map(len, chosen.values())), "dead letter"
        for shard, numbers in chosen.items():
            before = len(job.done)
            async for settled in settle(desk.storage, shard, numbers, self.target):
                job.done += settled
            for missed in sorted(set(numbers).difference(job.done[before:]))[: MOST_LEFT - len(job.left)]:
                job.left[str(missed)] = "a worker holds its thread, or it is gone"
        many = counted(len(job.done), "dead letter")
        job.result = f"{many} of {handler.name} {be(len(job.done))} {self.done}"
        if left := job.total - len(job.done):
            job.result += f"; {left:,} {be(left)} not"

    async def _chosen(self, desk: Desk, form: Form) -> dict[Shard, list[int]]:
        handler, until = desk.handler(form), numbers_in(form.getlist("until"))
        if form.get("whole"):
            return await find_all(desk.storage, handler, search_of(form), dict(until), desk.bodies)
        wanted = set(numbers_in(ticked(form, "letter", "letter")))
        return {shard: sorted(number for at, number in wanted if at == shard.number) for shard in handler.shards}


def search_of(form: Form) -> Search:
    return Search(form.get("text", ""), form.get("error", ""), form.get("of_thread", ""))


def numbers_in(pairs: Sequence[str]) -> list[tuple[int, int]]:
    """
    Raises:
        NotPossible: one is not `SHARD:NUMBER`.
    """
    try:
        return [(int(shard), int(number)) for shard, number in (pair.split(":") for pair in pairs)]
    except ValueError:
        raise NotPossible("a number is not SHARD:NUMBER") from None


class ReplayTail(OfLetters):
    name, label, target = "replay-tail", "Replay to the tail", "tail"
    verb, done = "Replay", "back in the tubes"

    def effect(self, number: int) -> str:
        return f"{'It joins' if number == 1 else 'They join'} the tail of {'its' if number == 1 else 'their'} tubes."


class ReplayHead(OfLetters):
    name, label, target = "replay-head", "Replay to the head", "head"
    verb, done = "Replay", "back in the tubes"

    def effect(self, number: int) -> str:
        goes = "It goes" if number == 1 else "They go"
        return f"{goes} before the waiting requests, but only where no worker holds the thread now."


class Drop(OfLetters):
    name, label, role, target = "drop-letters", "Drop", "admin", "drop"
    verb, done = "Drop", "gone"

    def effect(self, number: int) -> str:
        return "It is gone for good." if number == 1 else "They are gone for good."


class Cancel(Action):
    name, label = "cancel", "Cancel"
    verb: ClassVar[str] = "Cancel"
    done: ClassVar[str] = "cancelled"
    effect: ClassVar[str] = "They will never be handled. One that has joined its tube meanwhile is left there."

    async def ask(self, desk: Desk, form: Form) -> Proposal:
        handler, wanted = desk.handler(form), self._wanted(form)
        many = counted(len(wanted), "delayed request")
        fields = one(form, "handler") + [("delayed", each) for each in form.getlist("delayed")]
        return Proposal(f"{self.verb} {many} of {handler.name}?", self.effect, fields, bool(wanted))

    async def perform(self, desk: Desk, form: Form, job: Job) -> None:
        handler, wanted = desk.handler(form), self._wanted(form)
        job.total, job.noun = len(wanted), "delayed request"
        for shard in handler.shards:
            numbers = [number for each, number in wanted if each == shard.number]
            before = len(job.done)
            async for step in in_steps(numbers, partial(self._act, desk, form, shard)):
                job.done += step
            for missed in sorted(set(numbers).difference(job.done[before:])):
                job.left[str(missed)] = "it is not delayed any more"
        job.result = f"{counted(len(job.done), 'delayed request')} of {handler.name} {be(len(job.done))} {self.done}"

    async def _act(self, desk: Desk, form: Form, shard: Shard, numbers: Sequence[int]) -> list[int]:
        return await desk.storage.cancel(shard, numbers)

    def _wanted(self, form: Form) -> list[tuple[int, int]]:
        return numbers_in(ticked(form, "delayed", "request"))


class RunDelayed(Cancel):
    name, label = "run-delayed", "Run now"
    verb, done = "Run", "in the tubes"
    effect = "They join the tails of their tubes now."

    async def _act(self, desk: Desk, form: Form, shard: Shard, numbers: Sequence[int]) -> list[int]:
        return await desk.storage.run_delayed(shard, numbers)


class MoveDelayed(Cancel):
    """Give delayed requests another time, which the person says first."""

    name, label = "move-delayed", "Move"
    verb, done = "Move", "due then"

    async def ask(self, desk: Desk, form: Form) -> Proposal:
        proposal, text = await super().ask(desk, form), form.get("at", "")
        when, fault = "", ""
        if text:
            try:
                due_ms = moment_ms(text)
                check_due(due_ms, int(time.time() * 1000))
                when = instant(due_ms)
            except ValueError as error:
                fault = str(error)
        if not when:
            first = Input("at", "The new time, in UTC", text, fault, "datetime-local")
            return proposal._replace(effect="Each joins the tail of its tube then.", first=first)
        return proposal._replace(
            question=f"{proposal.question.removesuffix('?')} to {when}?",
            effect="Each joins the tail of its tube then. One that has joined its tube meanwhile is left there.",
            fields=[*proposal.fields, ("at", when)],
        )

    async def _act(self, desk: Desk, form: Form, shard: Shard, numbers: Sequence[int]) -> list[int]:
        try:
            return await desk.storage.move_delayed(shard, numbers, moment_ms(form.get("at", "")))
        except ValueError as error:
            raise NotPossible(str(error)) from error


class RunSchedule(Action):
    name, label = "run-schedule", "Run now"

    async def ask(self, desk: Desk, form: Form) -> Proposal:
        handler, schedule = desk.handler(form), form.get("schedule", "")
        effect = "Its request joins the tail of its tube now. The schedule occurs next when it would have anyway."
        return Proposal(f"Run the schedule {schedule} of {handler.name} now?", effect, one(form, "handler", "schedule"))

    async def perform(self, desk: Desk, form: Form, job: Job) -> None:
        handler, schedule = desk.handler(form), form.get("schedule", "")
        found = [each for shard in handler.shards if (each := await desk.storage.run_schedule(shard, schedule))]
        job.result = (
            f"The request of {schedule} is number {found[0].sequence} of thread {found[0].thread}"
            if found
            else f"There is no schedule {schedule}"
        )


class EditSchedule(Action):
    """Give a schedule another timing, which the person says first."""

    name, label, role = "edit-schedule", "Edit", "admin"

    async def ask(self, desk: Desk, form: Form) -> Proposal:
        handler, schedule = desk.handler(form), form.get("schedule", "")
        known = await self._timing_now(desk, handler, schedule)
        question, fields = f"Change the timing of {schedule} of {handler.name}", one(form, "handler", "schedule")
        text = form.get("timing", "")
        try:
            following = instant(timing.read(text).after(int(time.time() * 1000)))
        except ValueError as error:
            fault = str(error) if text else ""
            first = Input("timing", "The new timing", text or known, fault)
            how = "Give an interval, as in 'every 30 s', or a cron line, as in 'cron 0 9 * * 1-5 in Europe/Berlin'."
            return Proposal(f"{question}?", how, fields, first=first)
        effect = (
            f"It is {known} now. With the new one, it occurs next at {following}. "
            "A program that declares the schedule when it starts puts its own timing back: change it there as well."
        )
        return Proposal(f"{question} to {text}?", effect, [*fields, ("timing", text)])

    async def perform(self, desk: Desk, form: Form, job: Job) -> None:
        handler, schedule = desk.handler(form), form.get("schedule", "")
        try:
            new = timing.read(form.get("timing", ""))
        except ValueError as error:
            raise NotPossible(str(error)) from error
        for shard in handler.shards:
            if next_ms := await desk.storage.edit_schedule(shard, schedule, new):
                job.result = (
                    f"The schedule {schedule} of {handler.name} is {new}, and occurs next at {instant(next_ms)}"
                )
                return
        raise self._gone(handler, schedule)

    async def _timing_now(self, desk: Desk, handler: Named, schedule: str) -> str:
        for shard in handler.shards:
            for each in await desk.storage.schedules(shard):
                if each.name == schedule:
                    return each.timing
        raise self._gone(handler, schedule)

    def _gone(self, handler: Named, schedule: str) -> NotPossible:
        return NotPossible(
            f"{handler.name} has no schedule {printable(schedule, 200)!r}: it may have been removed meanwhile"
        )


class DropRequests(Action):
    """Take waiting requests out of a thread: those that are named, or all. They become dead letters."""

    name, label, role = "drop-requests", "Drop", "admin"

    async def ask(self, desk: Desk, form: Form) -> Proposal:
        handler, thread, named = desk.handler(form), form.get("thread", ""), self._named(form)
        if named is None:
            state = await desk.storage.explain(handler.shard_of(thread), thread)
            number = sum(tube.depth for tube in state.tubes)
            question = f"Drop thread {thread} of {handler.name}, with {counted(number, 'request')}?"
        else:
            number = len(named)
            question = f"Drop {counted(number, 'request')} of thread {thread} of {handler.name}?"
        effect = "What a worker has in hand stays. The others become dead letters, from which they can be replayed."
        fields = one(form, "handler", "thread", "whole") + [("waiting", each) for each in form.getlist("waiting")]
        return Proposal(question, effect, fields, bool(number), needs_reason=True)

    async def perform(self, desk: Desk, form: Form, job: Job) -> None:
        handler, thread = desk.handler(form), form.get("thread", "")
        try:
            removal = Removal(job.person, form.get("reason", ""))
            dropped = await desk.storage.drop(handler.shard_of(thread), thread, removal, self._named(form))
        except ValueError as error:
            raise NotPossible(str(error)) from error
        job.done, job.noun = dropped.letters, "request"
        job.total = len(dropped.letters) + len(dropped.held) + len(dropped.missing) + len(dropped.deep)
        job.left = {str(each.sequence): "a worker has it in hand" for each in dropped.held[:MOST_LEFT]}
        job.left |= {str(each.sequence): "it is not there any more" for each in dropped.missing[:MOST_LEFT]}
        job.left |= {str(each.sequence): TOO_DEEP for each in dropped.deep[:MOST_LEFT]}
        many = counted(len(dropped.letters), "request")
        job.result = f"{many} of thread {thread} of {handler.name} {be(len(dropped.letters))} dead letters now"
        if dropped.in_hand:
            job.result += f"; a worker has {counted(dropped.in_hand, 'request')} in hand"

    def _named(self, form: Form) -> list[Waiting] | None:
        """None: the whole thread."""
        if form.get("whole"):
            return None
        names = ticked(form, "waiting", "request")
        try:
            parts = [each.split(":") for each in names]
            return [Waiting(int(priority), int(sequence), digest) for priority, sequence, digest in parts]
        except ValueError:
            raise NotPossible("a request is not PRIORITY:NUMBER:DIGEST") from None


class Unschedule(Action):
    name, label, role = "unschedule", "Remove the schedule", "admin"

    async def ask(self, desk: Desk, form: Form) -> Proposal:
        handler, schedule = desk.handler(form), form.get("schedule", "")
        effect = "It occurs no more. Occurrences that are registered already stay in their tube."
        return Proposal(f"Remove the schedule {schedule} of {handler.name}?", effect, one(form, "handler", "schedule"))

    async def perform(self, desk: Desk, form: Form, job: Job) -> None:
        handler, schedule = desk.handler(form), form.get("schedule", "")
        removed = any([await desk.storage.unschedule(shard, schedule) for shard in handler.shards])
        job.result = (
            f"The schedule {schedule} of {handler.name} is removed" if removed else f"There is no schedule {schedule}"
        )


ACTIONS: Mapping[str, Action] = {
    action.name: action
    for action in (
        Button("pause", "Pause", Pause),
        Button("resume", "Resume", Resume),
        Reshard(),
        ReplayTail(),
        ReplayHead(),
        Drop(),
        Cancel(),
        RunDelayed(),
        MoveDelayed(),
        Unschedule(),
        RunSchedule(),
        EditSchedule(),
        DropRequests(),
    )
}
