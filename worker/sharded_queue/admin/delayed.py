"""Requests that are not due yet: cancelled, let into their tubes at once, or given another time."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sharded_queue.admin import answers
from sharded_queue.admin.acts import ActionContext, BadField, Plan, T, given
from sharded_queue.admin.handlers import Named
from sharded_queue.admin.numbers import OfNumbers
from sharded_queue.errors import NotPossible
from sharded_queue.printable import instant
from sharded_queue.state import Delayed
from sharded_queue.steps import in_steps
from sharded_queue.storage import Storage, check_due
from sharded_queue.timing import moment_ms
from sharded_queue.tube import Shard


@dataclass(frozen=True, kw_only=True)
class OfDelayed(OfNumbers[T]):
    """What acts on delayed requests have in common."""

    noun = "delayed request"

    async def bind_all(self, context: ActionContext) -> tuple[OfNumbers[T], int]:
        return self, sum(state.delayed for state in await context.storage.observe(self.handler.shards, 0))

    async def find_all(self, context: ActionContext) -> Mapping[Shard, Sequence[int]]:
        return {shard: await context.storage.delayed_numbers(shard) for shard in self.handler.shards}

    def do(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> AsyncIterator[list[int]]:
        return in_steps(numbers, partial(self.step, storage, shard))

    async def step(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> list[int]:
        raise NotImplementedError

    async def why_left(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> Mapping[int, str]:
        """What joined its tube meanwhile was not meant by all."""
        return {} if self.is_all else dict.fromkeys(numbers, "it is not delayed")


@dataclass(frozen=True, kw_only=True)
class Cancel(OfDelayed[answers.Cancelled]):
    """
    Cancel delayed requests by the NUMBERS that `delayed list` and the receipts of a registration show. Exit 1 if one of
    them is not delayed any more: it is in its tube, was handled, or never existed.
    """

    name, verb = "delayed cancel", "Cancel"

    def effect(self, number: int) -> str:
        return "They will never be handled. One that has joined its tube meanwhile is left there."

    def outcome(self) -> str:
        return "cancelled"

    async def step(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> list[int]:
        return await storage.cancel(shard, numbers)

    def answer(self, done: list[int], left: dict[str, str]) -> answers.Cancelled:
        return answers.Cancelled(handler=self.handler.name, cancelled=done, unknown=numbers_of(left))


@dataclass(frozen=True, kw_only=True)
class RunDelayed(OfDelayed[answers.Ran]):
    """
    Let delayed requests join the tails of their tubes now, by the NUMBERS that `delayed list` shows. Exit 1 if one of
    them is not delayed any more.
    """

    name, verb = "delayed run", "Run"

    def effect(self, number: int) -> str:
        return "They join the tails of their tubes now."

    def outcome(self) -> str:
        return "in the tubes now"

    async def step(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> list[int]:
        return await storage.run_delayed(shard, numbers)

    def answer(self, done: list[int], left: dict[str, str]) -> answers.Ran:
        return answers.Ran(handler=self.handler.name, ran=done, unknown=numbers_of(left))


@dataclass(frozen=True, kw_only=True)
class MoveDelayed(OfDelayed[answers.Moved]):
    """
    Give delayed requests another time, by the NUMBERS that `delayed list` shows: --at a time, or --in seconds. Exit 1
    if one of them is not delayed any more.
    """

    name, verb = "delayed move", "Move"
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

    @property
    def due_ms(self) -> int:
        """
        Raises:
            NotPossible: no time is given.
        """
        if self.at_ms is None:
            raise NotPossible("the new time is not given")
        return self.at_ms

    async def plan(self, context: ActionContext) -> Plan[answers.Moved]:
        plan = await super().plan(context)
        if self.at_ms is None:
            return plan
        try:
            check_due(self.at_ms, int(time.time() * 1000))
        except ValueError as error:
            raise BadField("at", str(error)) from error
        return plan._replace(question=f"{plan.question.removesuffix('?')} to {instant(self.at_ms)}?")

    def effect(self, number: int) -> str:
        return "Each joins the tail of its tube then. One that has joined its tube meanwhile is left there."

    def outcome(self) -> str:
        return f"due at {instant(self.due_ms)}"

    async def step(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> list[int]:
        try:
            return await storage.move_delayed(shard, numbers, self.due_ms)
        except ValueError as error:
            raise BadField("at", str(error)) from error

    def answer(self, done: list[int], left: dict[str, str]) -> answers.Moved:
        due_at = answers.at(self.due_ms)
        return answers.Moved(handler=self.handler.name, due_at=due_at, moved=done, unknown=numbers_of(left))


def numbers_of(left: Mapping[str, str]) -> list[int]:
    return [int(name.rpartition(":")[2]) for name in left]


async def next_first(storage: Storage, handler: Named, count: int) -> list[Delayed]:
    waiting = [each for shard in handler.shards for each in await storage.delayed(shard, count)]
    return sorted(waiting, key=lambda each: each.due_ms)[:count]
