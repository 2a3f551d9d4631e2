"""Pause and resume handlers and threads, and list what is paused."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from sharded_queue.admin import answers
from sharded_queue.admin.acts import Act, ActionContext, Plan, Step, given
from sharded_queue.admin.handlers import must_have
from sharded_queue.admin.reasons import checked_cause, given_actor, given_reason
from sharded_queue.admin.words import duration, exhausted_words
from sharded_queue.errors import NotPossible
from sharded_queue.printable import be, counted
from sharded_queue.route import Route, checked
from sharded_queue.state import Exhausted
from sharded_queue.storage import STEP_THREADS, Cause, Storage, check_pause
from sharded_queue.tube import Shard

NO_REASON = "no reason given"
DURATION = re.compile(r"(?:(\d{1,4})d)? ?(?:(\d{1,5})h)? ?(?:(\d{1,7})m)? ?(?:(\d{1,9})s)?")
UNITS = 86_400, 3600, 60, 1


def read_seconds(text: str) -> float:
    """
    Raises:
        ValueError: this is not a time, or a pause cannot last so long.
    """
    found = DURATION.fullmatch(text.strip())
    if not found or not any(found.groups()):
        raise ValueError(f"{text!r:.80} is no length of time: write it as 90s, 30m, 2h or 1d12h")
    seconds = sum(int(number) * unit for number, unit in zip(found.groups(), UNITS, strict=True) if number)
    check_pause(Cause("somebody", NO_REASON), seconds)
    return seconds


def write_seconds(seconds: float) -> str:
    return f"{int(seconds)}s"


@dataclass(frozen=True, kw_only=True)
class Switch(Act[answers.Switched]):
    """What pausing and resuming have in common."""

    is_paused: ClassVar[bool]
    thread: str | None = given("thread", default=None)

    @property
    def what(self) -> str:
        return name_of(self.handler.name, self.thread)

    @property
    def shards(self) -> list[Shard]:
        return [self.handler.shard_of(self.thread)] if self.thread else self.handler.shards

    async def count_waiting(self, context: ActionContext, *, must_exist: bool) -> int:
        """
        The number of requests that the pause is about.

        Raises:
            NotPossible: there is no such thread now, and it *must exist*.
        """
        storage, handler = context.storage, self.handler
        if self.thread is None:
            depth = sum(state.depth for state in await storage.observe(handler.shards, 0))
        else:
            shard, thread = handler.shard_of(self.thread), self.thread
            state = await (must_have(storage, handler, thread) if must_exist else storage.explain(shard, thread))
            depth = sum(tube.depth for tube in state.tubes)
        return depth

    async def steps(self, context: ActionContext) -> AsyncIterator[Step[answers.Switched]]:
        pause, cause = context.storage.pause, self.cause
        changed = any([await pause(shard, self.thread, self.is_paused, cause, self.lasts) for shard in self.shards])
        name, note = self.handler.name, await self.note(context)
        answer = answers.Switched(handler=name, thread=self.thread, paused=self.is_paused, changed=changed, note=note)
        yield Step(answer, notes=[note] * bool(note))

    @property
    def cause(self) -> Cause | None:
        """Who does it and why, as far as that is kept."""
        return None

    @property
    def lasts(self) -> float | None:
        """Seconds until it ends by itself, None for never."""
        return None

    async def note(self, context: ActionContext) -> str:
        """What is otherwise than the act alone lets expect."""
        raise NotImplementedError

    def outcome(self, changed: bool) -> str:
        raise NotImplementedError

    def sentences(self, step: Step[answers.Switched]) -> list[str]:
        return ["; ".join([f"{self.what} {self.outcome(step.answer.changed)}", *step.notes])]


@dataclass(frozen=True, kw_only=True)
class Pause(Switch):
    """
    Pause a handler, or one thread: workers finish their running batches and take no new ones.

    It lasts until somebody resumes it, or for the time that --for gives: after it, the requests are handed out again by
    themselves. Use --force for a handler or a thread that has no requests yet. `sharded-queue paused` lists what is
    paused, since when, until when, by whom and why.
    """

    name, is_paused = "pause", True
    reason: str = given_reason("Why: a line that `paused` and `explain` show.")
    seconds: float | None = given(
        "for",
        "After which time it is resumed by itself, such as 90s, 30m, 2h or 1d12h. Without it: never.",
        default=None,
        read=read_seconds,
        write=write_seconds,
        is_option=True,
        question="For how long? 30m, 2h or 1d; nothing means until somebody resumes it",
    )
    actor: str = given_actor()
    force: bool = given("force", "Do it even if Redis has never seen this name.", default=False, is_flag=True)

    async def plan(self, context: ActionContext) -> Plan[answers.Switched]:
        if self.thread is not None:
            checked(Route(self.thread))
        waiting = await self.count_waiting(context, must_exist=not self.force)
        scope = "It" if self.thread else "Every thread of it"
        lasts = "" if self.seconds is None else f" for {duration(self.seconds)}"
        wait = "1 request waits" if waiting == 1 else f"{waiting:,} requests wait"
        effect = f"{scope} finishes the batch that a worker has, then stands still{lasts}; {wait} now."
        return Plan(self, f"Pause {self.what}?", effect)

    @property
    def cause(self) -> Cause:
        """
        Raises:
            BadField: a part is not a line of text.
        """
        return checked_cause(self.actor or "a program", self.reason or NO_REASON)

    @property
    def lasts(self) -> float | None:
        return self.seconds

    async def note(self, context: ActionContext) -> str:
        hand = await self._count_in_hand(context)
        if not hand:
            return ""
        has, ends = ("batch that a worker has", "ends") if self.thread else ("batches that workers have", "end")
        return f"the {has}, of {counted(hand, 'request')}, {ends} first"

    async def _count_in_hand(self, context: ActionContext) -> int:
        if self.thread:
            state = await context.storage.explain(self.handler.shard_of(self.thread), self.thread)
            return state.in_hand if state.is_held else 0
        states = await context.storage.observe(self.handler.shards, 0)
        return sum(hold.in_hand for state in states for hold in state.held if hold.lease_seconds > 0)

    def outcome(self, changed: bool) -> str:
        lasts = "" if self.seconds is None else f"{'' if changed else ', now'} for {duration(self.seconds)}"
        return ("is paused" if changed else "was paused already") + lasts


@dataclass(frozen=True, kw_only=True)
class Resume(Switch):
    """
    Resume a handler, or one thread: end its pause. Where it is not paused but exhausted, its first request is tried
    again, with all of its tries.

    With --exhausted, only that is done: for all exhausted threads of the handler, for those with --error in their
    error, or for one thread. Pauses stay.
    """

    name, is_paused, noun = "resume", False, "thread"
    exhausted: bool = given("exhausted", "Try exhausted threads again, and end no pause.", default=False, is_flag=True)
    error: str = given("error", "Of --exhausted, those with this in their error.", default="", is_option=True)
    found: Mapping[Shard, Sequence[Exhausted]] | None = field(default=None, repr=False, compare=False)
    """What a plan found. What is exhausted later is left alone."""

    async def plan(self, context: ActionContext) -> Plan[answers.Switched]:
        if self.error and not self.exhausted:
            raise NotPossible("--error is about exhausted threads: say --exhausted as well")
        waiting = await self.count_waiting(context, must_exist=True)
        if self.exhausted:
            return await self._plan_exhausted(context)
        effect = f"Workers get its {counted(waiting, 'request')} again."
        effect += " It waits for no back-off any more." * bool(self.thread)
        return Plan(self, f"Resume {self.what}?", effect)

    async def _plan_exhausted(self, context: ActionContext) -> Plan[answers.Switched]:
        found = await self.find(context)
        total = sum(map(len, found.values()))
        threads, each = f"{counted(total, 'exhausted thread')} of {self.handler.name}", "It" if total == 1 else "Each"
        effect = f"{each} begins with the request that failed, which has all of its tries again. Pauses stay."
        return Plan(replace(self, found=found), f"Try {threads} again?", effect, total)

    async def find(self, context: ActionContext) -> Mapping[Shard, Sequence[Exhausted]]:
        """The exhausted threads that are meant."""
        if self.found is not None:
            return self.found
        return {shard: await self._find_in(context, shard) for shard in self.shards}

    async def _find_in(self, context: ActionContext, shard: Shard) -> Sequence[Exhausted]:
        if self.thread is not None:
            exhausted = (await context.storage.explain(shard, self.thread)).exhausted
            return [exhausted] if exhausted and self._is_meant(exhausted) else []
        found, page = await context.storage.exhausted(shard)
        while page:
            more, page = await context.storage.exhausted(shard, page)
            found += more
        return list({each.thread: each for each in found if self._is_meant(each)}.values())

    def _is_meant(self, exhausted: Exhausted) -> bool:
        return self.error.casefold() in exhausted.error.casefold()

    async def steps(self, context: ActionContext) -> AsyncIterator[Step[answers.Switched]]:
        if not self.exhausted:
            async for step in super().steps(context):
                yield step
            return
        found, done = await self.find(context), 0
        total = sum(map(len, found.values()))
        yield self._step(total, done)
        for shard, threads in found.items():
            for at in range(0, len(threads), STEP_THREADS):
                done += len(await context.storage.try_anew(shard, threads[at : at + STEP_THREADS]))
                yield self._step(total, done)

    def _step(self, total: int, done: int) -> Step[answers.Switched]:
        answer = answers.Switched(
            handler=self.handler.name,
            thread=self.thread,
            paused=False,
            changed=done > 0,
            note="",
            tried_anew=done,
        )
        return Step(answer, total, range(done), is_partial=not done)

    def sentences(self, step: Step[answers.Switched]) -> list[str]:
        if not self.exhausted:
            return super().sentences(step)
        done = step.answer.tried_anew
        if not done:
            with_error = " with that in its error" * bool(self.error)
            return [f"nothing to try again: no thread of {self.handler.name} is exhausted{with_error}"]
        return [f"{counted(done, 'thread')} of {self.handler.name} {be(done)} tried again"]

    async def note(self, context: ActionContext) -> str:
        if self.thread:
            state = await context.storage.explain(self.handler.shard_of(self.thread), self.thread)
            left = f"it stands still: {exhausted_words(state.exhausted)}" if state.exhausted else ""
            return f"{self.handler.name} itself is paused" if state.is_handler_paused else left
        states = await context.storage.observe(self.handler.shards, 0)
        stays = [
            f"{counted(number, 'thread')} of it {'stays' if number == 1 else 'stay'} {word}"
            for word in ("paused", "exhausted")
            if (number := sum(getattr(state, word) for state in states))
        ]
        return " and ".join(stays)

    def outcome(self, changed: bool) -> str:
        return "is resumed" if changed else "was not paused"


async def list_paused(storage: Storage, shards: Sequence[Shard]) -> list[answers.Paused]:
    states = await storage.observe(shards, 0)
    by = {shard: await storage.pauses(shard) for shard in shards}
    whole = {state.shard.handler: by[state.shard].get("") for state in states if state.is_paused}
    listed = [answers.paused(handler, None, each) for handler, each in whole.items()]
    for shard in shards:
        acts = await storage.acts(shard)
        threads = await storage.paused(shard)
        listed += [answers.paused(shard.handler, each, by[shard].get(each), acts.get(each)) for each in threads]
    return listed


def name_of(handler: str, thread: str | None) -> str:
    return f"thread {thread} of {handler}" if thread else handler
