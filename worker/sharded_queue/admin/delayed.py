"""Requests that are not due yet: cancelled, let into their tubes at once, or given another time."""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sharded_queue.admin import answers
from sharded_queue.admin.acts import Act, ActionContext, BadField, Plan, Step, given
from sharded_queue.admin.handlers import Named, NotPossible
from sharded_queue.admin.numbers import Number, by_shard, must_select, name_in, read_number
from sharded_queue.printable import be, counted, instant
from sharded_queue.state import Delayed
from sharded_queue.steps import in_steps
from sharded_queue.storage import Storage, check_due
from sharded_queue.timing import moment_ms
from sharded_queue.tube import Shard


@dataclass(frozen=True, kw_only=True)
class OfDelayed(Act):
    """What acts on delayed requests have in common."""

    noun = "delayed request"
    verb: ClassVar[str]
    done: ClassVar[str]
    effect: ClassVar[str]
    numbers: tuple[Number, ...] = given("numbers", default=(), read=read_number, write=str, is_list=True)
    is_all: bool = given("all", "All delayed requests of the handler.", default=False, is_flag=True)

    async def act(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> list[int]:
        """One step; returns the numbers for which it was done."""
        raise NotImplementedError

    def answer(self, done: list[int], unknown: list[int]) -> answers.Answer:
        raise NotImplementedError

    async def plan(self, context: ActionContext) -> Plan:
        must_select(self.noun, self.numbers, self.is_all)
        if self.is_all:
            total = sum(state.delayed for state in await context.storage.observe(self.handler.shards, 0))
        else:
            total = sum(map(len, by_shard(self.handler, self.numbers).values()))
        return Plan(self, f"{self.verb} {counted(total, self.noun)} of {self.handler.name}?", self.effect, total)

    async def steps(self, context: ActionContext) -> AsyncIterator[Step]:
        storage, done, unknown = context.storage, list[int](), list[int]()
        if self.is_all:
            wanted = {shard: await storage.delayed_numbers(shard) for shard in self.handler.shards}
        else:
            wanted = by_shard(self.handler, self.numbers)
        answer, total, left = self.answer(done, unknown), sum(map(len, wanted.values())), dict[str, str]()
        for shard, numbers in wanted.items():
            before = len(done)
            async for part in in_steps(numbers, lambda part, shard=shard: self.act(storage, shard, part)):  # type: ignore[misc]
                done += part
                yield Step(answer, total, done)
            if not self.is_all:
                did = set(done[before:])
                unknown += [number for number in numbers if number not in did]
                left |= {name_in(shard, number): "it is not delayed" for number in numbers if number not in did}
        yield Step(answer, total, done, left)

    def sentences(self, step: Step) -> list[str]:
        many = len(step.done)
        return [f"{counted(many, self.noun)} of {self.handler.name} {be(many)} {self.outcome}"]

    @property
    def outcome(self) -> str:
        return self.done


@dataclass(frozen=True, kw_only=True)
class Cancel(OfDelayed):
    """
    Cancel delayed requests by the NUMBERS that `delayed list` and the receipts of a registration show. Exit 1 if one of
    them is not delayed any more: it is in its tube, was handled, or never existed.
    """

    name, verb, done = "delayed cancel", "Cancel", "cancelled"
    effect = "They will never be handled. One that has joined its tube meanwhile is left there."

    async def act(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> list[int]:
        return await storage.cancel(shard, numbers)

    def answer(self, done: list[int], unknown: list[int]) -> answers.Cancelled:
        return answers.Cancelled(handler=self.handler.name, cancelled=done, unknown=unknown)


@dataclass(frozen=True, kw_only=True)
class RunDelayed(OfDelayed):
    """
    Let delayed requests join the tails of their tubes now, by the NUMBERS that `delayed list` shows. Exit 1 if one of
    them is not delayed any more.
    """

    name, verb, done = "delayed run", "Run", "in the tubes now"
    effect = "They join the tails of their tubes now."

    async def act(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> list[int]:
        return await storage.run_delayed(shard, numbers)

    def answer(self, done: list[int], unknown: list[int]) -> answers.Ran:
        return answers.Ran(handler=self.handler.name, ran=done, unknown=unknown)


@dataclass(frozen=True, kw_only=True)
class MoveDelayed(OfDelayed):
    """
    Give delayed requests another time, by the NUMBERS that `delayed list` shows: --at a time, or --in seconds. Exit 1
    if one of them is not delayed any more.
    """

    name, verb, done = "delayed move", "Move", ""
    effect = "Each joins the tail of its tube then. One that has joined its tube meanwhile is left there."
    at_ms: int | None = given(
        "at",
        "The time, as in 2030-01-31T09:00:00Z.",
        default=None,
        read=moment_ms,
        write=instant,
        is_option=True,
        label="The new time, in UTC",
        kind="datetime-local",
    )

    async def plan(self, context: ActionContext) -> Plan:
        plan = await super().plan(context)
        if self.at_ms is None:
            return plan
        try:
            check_due(self.at_ms, int(time.time() * 1000))
        except ValueError as error:
            raise BadField("at", str(error)) from error
        return plan._replace(question=f"{plan.question.removesuffix('?')} to {instant(self.at_ms)}?")

    @property
    def due_ms(self) -> int:
        """
        Raises:
            NotPossible: no time is given.
        """
        if self.at_ms is None:
            raise NotPossible("the new time is not given")
        return self.at_ms

    async def act(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> list[int]:
        try:
            return await storage.move_delayed(shard, numbers, self.due_ms)
        except ValueError as error:
            raise BadField("at", str(error)) from error

    def answer(self, done: list[int], unknown: list[int]) -> answers.Moved:
        return answers.Moved(handler=self.handler.name, due_at=answers.at(self.due_ms), moved=done, unknown=unknown)

    @property
    def outcome(self) -> str:
        return f"due at {instant(self.due_ms)}"


async def next_first(storage: Storage, handler: Named, count: int) -> list[Delayed]:
    waiting = [each for shard in handler.shards for each in await storage.delayed(shard, count)]
    return sorted(waiting, key=lambda each: each.due_ms)[:count]
