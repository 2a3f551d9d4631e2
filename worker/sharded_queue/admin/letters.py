"""What becomes of dead letters: of some by their numbers, of all, or of those that a search finds."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from sharded_queue import letters
from sharded_queue.admin import answers
from sharded_queue.admin.acts import Act, ActionContext, Plan, Step, given
from sharded_queue.admin.handlers import NotPossible
from sharded_queue.admin.numbers import Number, by_shard, must_select, name_in, read_number
from sharded_queue.admin.reasons import actor, reason, removal_of
from sharded_queue.admin.search import Search, find_all
from sharded_queue.printable import be, counted
from sharded_queue.storage import Removal, Storage, Target
from sharded_queue.tube import Shard


@dataclass(frozen=True, kw_only=True)
class OfLetters(Act):
    """What replaying and dropping have in common."""

    noun = "dead letter"
    verb: ClassVar[str]
    done: ClassVar[str]
    numbers: tuple[Number, ...] = given("numbers", default=(), read=read_number, write=str, is_list=True)
    is_all: bool = given(
        "all", "All dead letters of the handler, or of those that are sought.", default=False, is_flag=True
    )
    text: str = given("text", "Of --all, those with this text in them.", default="", is_option=True)
    error: str = given("error", "Of --all, those with this in their error.", default="", is_option=True)
    of_thread: str = given("of_thread", "Of --all, those of this thread.", default="", is_option=True)
    until: tuple[Number, ...] = given("until", default=(), read=read_number, write=str, is_list=True, is_hidden=True)
    """The newest letter of each shard when the person was asked. What died after that is left alone."""

    @property
    def search(self) -> Search:
        return Search(self.text, self.error, self.of_thread)

    @property
    def target(self) -> Target:
        raise NotImplementedError

    @property
    def removal(self) -> Removal | None:
        """Who drops them, and why, if they are dropped."""
        return None

    def effect(self, number: int) -> str:
        raise NotImplementedError

    async def plan(self, context: ActionContext) -> Plan:
        must_select(self.noun, self.numbers, self.is_all)
        if self.is_all:
            planned, total = await self._all(context)
            sought = f" {self.search.words}" * bool(self.search.words)
        elif any(self.search):
            raise NotPossible("a search is one of all dead letters: leave the numbers out")
        else:
            planned, total, sought = self, sum(map(len, by_shard(self.handler, self.numbers).values())), ""
        question = f"{self.verb} {counted(total, self.noun)} of {self.handler.name}{sought}?"
        return Plan(planned, question, self.effect(total), total)

    async def _all(self, context: ActionContext) -> tuple["OfLetters", int]:
        """This act, of all letters that there are now, and their number."""
        states = await context.storage.observe(self.handler.shards, 0)
        until = self.until or tuple(Number(state.dead, state.shard.number) for state in states)
        planned = replace(self, until=until)
        if not any(self.search):
            return planned, sum(state.letters for state in states)
        return planned, sum(map(len, (await planned.find(context)).values()))

    async def find(self, context: ActionContext) -> dict[Shard, list[int]]:
        if not self.is_all:
            return by_shard(self.handler, self.numbers)
        until = {number.shard or 0: number.number for number in self.until}
        return await find_all(context.storage, self.handler, self.search, until, context.bodies)

    async def steps(self, context: ActionContext) -> AsyncIterator[Step]:
        done, left, removal = list[int](), dict[str, str](), self.removal
        chosen = await self.find(context)
        answer = answers.Settled(handler=self.handler.name, done=done, left=left)
        total = sum(map(len, chosen.values()))
        for shard, numbers in chosen.items():
            before = len(done)
            async for settled in letters.settle(context.storage, shard, numbers, self.target, removal):
                done += settled
                yield Step(answer, total, done)
            missed = sorted(set(numbers).difference(done[before:]))
            left |= {name_in(shard, number): why for number, why in await why_left(context.storage, shard, missed)}
        yield Step(answer, total, done, left)

    def sentences(self, step: Step) -> list[str]:
        many = len(step.done)
        return [f"{counted(many, self.noun)} of {self.handler.name} {be(many)} {self.done}"]


@dataclass(frozen=True, kw_only=True)
class ReplayLetters(OfLetters):
    """
    Put dead letters back into their tubes: behind the waiting requests, or before them with --head (only while no
    worker holds the thread).
    """

    name, verb, done = "dead replay", "Replay", "back in the tubes"
    head: bool = given("head", "Put them before the waiting requests, not behind.", default=False, is_flag=True)

    @property
    def target(self) -> Target:
        return "head" if self.head else "tail"

    def effect(self, number: int) -> str:
        they, their = ("It", "its") if number == 1 else ("They", "their")
        if self.head:
            goes = f"{they} {'goes' if number == 1 else 'go'}"
            return f"{goes} before the waiting requests, but only where no worker holds the thread now."
        return f"{they} {'joins' if number == 1 else 'join'} the tail of {their} tubes."


@dataclass(frozen=True, kw_only=True)
class DropLetters(OfLetters):
    """Delete dead letters for good."""

    name, right, is_asked, verb, done = "dead drop", "admin", True, "Drop", "gone"
    reason: str = reason()
    actor: str = actor()

    @property
    def target(self) -> Target:
        return "drop"

    def effect(self, number: int) -> str:
        return "It is gone for good." if number == 1 else "They are gone for good."

    @property
    def removal(self) -> Removal:
        return removal_of(self.actor, self.reason)


async def why_left(storage: Storage, shard: Shard, numbers: Sequence[int]) -> list[tuple[int, str]]:
    if not numbers:
        return []
    readable = {letter.number for letter in await storage.letter_threads(shard, numbers)}
    there = set(await storage.letter_numbers(shard))
    reasons = {(True, True): "a worker holds its thread", (False, True): "it cannot be read, and can only be dropped"}
    return [(each, reasons.get((each in readable, each in there), "no such dead letter")) for each in numbers]
