"""Acts on some of the many that a handler has: those with these numbers, or all."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from sharded_queue.admin.acts import Act, ActionContext, Plan, Step, T, given
from sharded_queue.admin.handlers import Named
from sharded_queue.errors import NotPossible
from sharded_queue.printable import be, counted, printable
from sharded_queue.storage import Storage
from sharded_queue.tube import Shard

NUMBER = re.compile(r"(?:(\d{1,16}):)?(\d{1,16})", re.ASCII)


class Number(NamedTuple):
    """Written `NUMBER`, or `SHARD:NUMBER` where the handler has several shards, each of which counts for itself."""

    number: int
    shard: int | None = None

    def __str__(self) -> str:
        return str(self.number) if self.shard is None else f"{self.shard}:{self.number}"


def read_number(text: str) -> Number:
    """
    Raises:
        ValueError: this is not a number.
    """
    found = NUMBER.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r:.80} is not NUMBER or SHARD:NUMBER")
    shard, number = found.groups()
    return Number(int(number), None if shard is None else int(shard))


def by_shard(handler: Named, numbers: Sequence[Number]) -> dict[Shard, list[int]]:
    """
    In the order in which they were said.

    Raises:
        NotPossible: the shard of one is not known, or not there.
    """
    found: dict[Shard, list[int]] = {}
    for number, at in numbers:
        if at is None and handler.spread > 1:
            raise NotPossible(
                f"the {handler.spread} shards of {printable(handler.name)} count separately: say SHARD:NUMBER, or all"
            )
        if (at or 0) >= handler.spread:
            raise NotPossible(f"{printable(handler.name)} has no shard {at}")
        found.setdefault(handler.shards[at or 0], []).append(number)
    return found


def must_select(noun: str, numbers: Sequence[object], is_all: bool) -> None:
    """
    None that is named never stands for all.

    Raises:
        NotPossible: neither some are named, nor all are meant; or both.
    """
    if bool(numbers) == is_all:
        raise NotPossible(f"select {noun}s by their numbers, or all of them")


@dataclass(frozen=True, kw_only=True)
class OfNumbers(Act[T]):
    """An act on dead letters or delayed requests."""

    verb: ClassVar[str]
    numbers: tuple[Number, ...] = given("numbers", default=(), read=read_number, write=str, is_list=True)
    is_all: bool = given("all", "All that the handler has now.", default=False, is_flag=True)

    async def plan(self, context: ActionContext) -> Plan[T]:
        must_select(self.noun, self.numbers, self.is_all)
        bound: OfNumbers[T] = self
        total = sum(map(len, by_shard(self.handler, self.numbers).values()))
        if self.is_all:
            bound, total = await self.bind_all(context)
        return Plan(bound, f"{self.verb} {self.what(total)}?", self.effect(total), total)

    def what(self, number: int) -> str:
        return f"{counted(number, self.noun)} of {self.handler.name}"

    async def bind_all(self, context: ActionContext) -> tuple["OfNumbers[T]", int]:
        """This act, of all that there are now, and their number."""
        raise NotImplementedError

    async def find_all(self, context: ActionContext) -> Mapping[Shard, Sequence[int]]:
        raise NotImplementedError

    def effect(self, number: int) -> str:
        """What the plan says of them."""
        raise NotImplementedError

    def outcome(self) -> str:
        """What they are when it is done."""
        raise NotImplementedError

    def do(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> AsyncIterator[list[int]]:
        """Do it in steps. Yields the numbers for which it was done."""
        raise NotImplementedError

    async def why_left(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> Mapping[int, str]:
        raise NotImplementedError

    def answer(self, done: list[int], left: dict[str, str]) -> T:
        raise NotImplementedError

    async def steps(self, context: ActionContext) -> AsyncIterator[Step[T]]:
        done, left = list[int](), dict[str, str]()
        named = by_shard(self.handler, self.numbers)
        chosen: Mapping[Shard, Sequence[int]] = await self.find_all(context) if self.is_all else named
        total = sum(map(len, chosen.values()))
        for shard, numbers in chosen.items():
            before = len(done)
            async for part in self.do(context.storage, shard, numbers):
                done += part
                yield Step(self.answer(done, left), total, done)
            did = set(done[before:])
            missed = [number for number in numbers if number not in did]
            reasons = await self.why_left(context.storage, shard, missed) if missed else {}
            at = shard.number if shard.spread > 1 else None
            left |= {str(Number(number, at)): why for number, why in reasons.items()}
        yield Step(self.answer(done, left), total, done, left, is_partial=not done)

    def sentences(self, step: Step[T]) -> list[str]:
        many = len(step.done)
        if not many and not step.left:
            return [f"nothing to {self.verb.lower()}: {self.what(0)}"]
        return [f"{self.what(many)} {be(many)} {self.outcome()}"]
