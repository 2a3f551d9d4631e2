"""Dead letters: where each is, and which of them a search finds."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sharded_queue.admin import answers
from sharded_queue.admin.bodies import Bodies
from sharded_queue.admin.handlers import Named
from sharded_queue.letters import read
from sharded_queue.state import Dead
from sharded_queue.storage import Storage
from sharded_queue.tube import Shard

SHOWN = Bodies()


class Letter(NamedTuple):
    """A dead letter, and the number of its shard; the two numbers together name it."""

    shard: int
    dead: Dead

    @property
    def name(self) -> str:
        return f"{self.shard}:{self.dead.number}"


class Search(NamedTuple):
    """*text* is in what a page shows of a letter, *error* in its error, and *thread* is its thread; empty for any."""

    text: str = ""
    error: str = ""
    thread: str = ""

    def finds(self, handler: str, letter: Dead, bodies: Bodies = SHOWN) -> bool:
        error = bodies.error(letter.error)
        if self.thread and letter.thread != self.thread:
            return False
        if self.error and self.error.casefold() not in error.casefold():
            return False
        if not self.text:
            return True
        answer = answers.letter(letter)
        request = bodies.text(handler, answer.request) if answer.unreadable is None else ""
        shown = f"{request}\n{bodies.headers(answer.headers)}\n{error}\n{letter.thread}"
        return self.text.casefold() in shown.casefold()

    @property
    def words(self) -> str:
        """The search in words, to go behind a number of letters."""
        parts = [
            f"with {self.text!r} in them" * bool(self.text),
            f"with the error {self.error!r}" * bool(self.error),
            f"of thread {self.thread!r}" * bool(self.thread),
        ]
        return " and ".join(filter(None, parts))


async def find_all(
    storage: Storage, handler: Named, search: Search, until: Mapping[int, int], bodies: Bodies
) -> dict[Shard, list[int]]:
    """
    The numbers of all letters that a search finds, by their shards: none above that of *until*, where there is one.
    Letters are read only where something of them is sought, and never many at once.
    """
    numbers = {shard: await _numbers(storage, shard, until) for shard in handler.shards}
    if not any(search):
        return numbers
    return {
        shard: [
            letter.number
            async for letters in read(storage, shard, those)
            for letter in await asyncio.to_thread(_finds, search, handler.name, letters, bodies)
        ]
        for shard, those in numbers.items()
    }


async def _numbers(storage: Storage, shard: Shard, until: Mapping[int, int]) -> list[int]:
    numbers = await storage.letter_numbers(shard)
    return [number for number in numbers if number <= until.get(shard.number, -1)] if until else numbers


def _finds(search: Search, handler: str, letters: Sequence[Dead], bodies: Bodies) -> list[Dead]:
    return [letter for letter in letters if search.finds(handler, letter, bodies)]


NO_SEARCH = Search()


async def newest(storage: Storage, handler: Named, count: int, search: Search = NO_SEARCH) -> list[Letter]:
    """The newest letters of all shards that a search finds, the last one first, read by pages of a bounded size."""
    if any(search):
        found = [
            Letter(shard.number, letter)
            for shard, numbers in (await find_all(storage, handler, search, {}, SHOWN)).items()
            async for letters in read(storage, shard, numbers[-count:])
            for letter in letters
        ]
    else:
        listed = {shard: await storage.dead(shard, count) for shard in handler.shards}
        found = [Letter(shard.number, letter) for shard, letters in listed.items() for letter in letters]
    return sorted(found, key=lambda letter: (-letter.dead.died_ms, letter.shard, -letter.dead.number))[:count]


class Found(NamedTuple):
    """What a search found among the letters that were *read_at* a time, and the types of their errors."""

    letters: Sequence[Letter] = ()
    kinds: Sequence[tuple[str, int]] = ()
    looked_at: int = 0
    read_at: float = 0.0


def look_through(letters: Sequence[Letter], search: Search, handler: str, bodies: Bodies, read_at: float) -> Found:
    """Takes long where requests are large: not for the event loop."""
    found = [letter for letter in letters if search.finds(handler, letter.dead, bodies)]
    kinds = Counter(bodies.error(letter.dead.error).partition(":")[0] for letter in found).most_common(8)
    return Found(found, kinds, len(letters), read_at)
