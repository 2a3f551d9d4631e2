"""What becomes of dead letters: of some by their numbers, of all, or of those that a search finds."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sharded_queue import letters
from sharded_queue.admin import answers
from sharded_queue.admin.acts import ActionContext, Plan, given
from sharded_queue.admin.numbers import Number, OfNumbers, read_number
from sharded_queue.admin.reasons import WithReason
from sharded_queue.admin.search import Search, find_all
from sharded_queue.errors import NotPossible
from sharded_queue.storage import Storage
from sharded_queue.tube import Shard


@dataclass(frozen=True, kw_only=True)
class OfLetters(OfNumbers[answers.Settled]):
    """What replaying and dropping have in common."""

    noun = "dead letter"
    text: str = given("text", "Of --all, those with this text in them.", default="", is_option=True)
    error: str = given("error", "Of --all, those with this in their error.", default="", is_option=True)
    of_thread: str = given("of_thread", "Of --all, those of this thread.", default="", is_option=True)
    until: tuple[Number, ...] = given("until", default=(), read=read_number, write=str, is_list=True, is_hidden=True)
    """The newest letter of each shard when the person was asked. What died after that is left alone."""
    found: Mapping[Shard, Sequence[int]] | None = field(default=None, repr=False, compare=False)
    """What the search of a plan found. An act that a page makes anew of its texts searches again, up to *until*."""

    @property
    def search(self) -> Search:
        return Search(self.text, self.error, self.of_thread)

    async def plan(self, context: ActionContext) -> Plan[answers.Settled]:
        if any(self.search) and not self.is_all:
            raise NotPossible("a search is one of all dead letters: leave the numbers out")
        return await super().plan(context)

    def what(self, number: int) -> str:
        return " ".join([super().what(number), *[self.search.words] * bool(self.search.words)])

    async def bind_all(self, context: ActionContext) -> tuple[OfNumbers[answers.Settled], int]:
        states = await context.storage.observe(self.handler.shards, 0)
        bound = replace(self, until=self.until or tuple(Number(state.dead, state.shard.number) for state in states))
        if not any(self.search):
            return bound, sum(state.letters for state in states)
        bound = replace(bound, found=await bound.find_all(context))
        return bound, sum(map(len, (bound.found or {}).values()))

    async def find_all(self, context: ActionContext) -> Mapping[Shard, Sequence[int]]:
        if self.found is not None:
            return self.found
        until = {number.shard or 0: number.number for number in self.until}
        return await find_all(context.storage, self.handler, self.search, until, context.bodies)

    async def why_left(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> Mapping[int, str]:
        readable = {letter.number for letter in await storage.letter_threads(shard, numbers)}
        there = set(await storage.letter_numbers(shard))
        known = {(True, True): "a worker holds its thread", (False, True): "it cannot be read, and can only be dropped"}
        return {each: known.get((each in readable, each in there), "no such dead letter") for each in sorted(numbers)}

    def answer(self, done: list[int], left: dict[str, str]) -> answers.Settled:
        return answers.Settled(handler=self.handler.name, done=done, left=left)


@dataclass(frozen=True, kw_only=True)
class ReplayLetters(OfLetters):
    """
    Put dead letters back into their tubes: behind the waiting requests, or before them with --head (only while no
    worker holds the thread).
    """

    name, verb = "dead replay", "Replay"
    head: bool = given("head", "Put them before the waiting requests, not behind.", default=False, is_flag=True)

    def effect(self, number: int) -> str:
        they, their = ("It", "its") if number == 1 else ("They", "their")
        if self.head:
            goes = f"{they} {'goes' if number == 1 else 'go'}"
            return f"{goes} before the waiting requests, but only where no worker holds the thread now."
        return f"{they} {'joins' if number == 1 else 'join'} the tail of {their} tubes."

    def outcome(self) -> str:
        return "back in the tubes"

    def do(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> AsyncIterator[list[int]]:
        return letters.settle(storage, shard, numbers, "head" if self.head else "tail")


@dataclass(frozen=True, kw_only=True)
class DropLetters(OfLetters, WithReason[answers.Settled]):
    """Delete dead letters for good."""

    name, right, is_asked, verb = "dead drop", "admin", True, "Drop"

    def effect(self, number: int) -> str:
        return f"Nothing brings {'it' if number == 1 else 'them'} back."

    def outcome(self) -> str:
        return "gone"

    def do(self, storage: Storage, shard: Shard, numbers: Sequence[int]) -> AsyncIterator[list[int]]:
        return letters.settle(storage, shard, numbers, "drop", self.cause)
