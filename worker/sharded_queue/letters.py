"""
Reading and settling any number of dead letters in bounded steps: settling in their order, and so that it may be cut and
asked for again.

The numbers of letters ascend in the order in which the requests of a thread died.
"""

from collections.abc import AsyncIterator, Iterable, Sequence

from sharded_queue.state import Dead
from sharded_queue.steps import in_steps
from sharded_queue.storage import STEP_BYTES, STEP_NUMBERS, Cause, LetterThread, Part, Storage, Target
from sharded_queue.tube import Shard


async def read(storage: Storage, shard: Shard, numbers: Sequence[int]) -> AsyncIterator[list[Dead]]:
    """The dead letters of these numbers that are there, in their order, by pages of a bounded size."""
    at = 0
    while at < len(numbers):
        page = await storage.read_letters(shard, numbers[at : at + STEP_NUMBERS])
        yield page.letters
        at += page.looked


async def settle(
    storage: Storage, shard: Shard, numbers: Iterable[int], target: Target, cause: Cause | None = None
) -> AsyncIterator[list[int]]:
    """
    Put these dead letters of a shard back at the head or the tail of their tubes, or drop them, for which *cause*
    says who and why. Yields the numbers of each step; what it never yields stays: it is gone already, cannot be read,
    or a worker holds its thread.

    Letters that go to the head keep their order. Where those of a thread take several steps, the last letters come
    first, and the thread is paused until the first one is back. If this ends before, the thread stays paused until the
    rest of its letters is settled likewise, or a person resumes it.
    """
    wanted = sorted(set(numbers))
    if target == "head":
        async for part, letters in _parts_to_the_head(storage, shard, wanted):
            if done := await storage.settle_dead(shard, letters, target, part):
                yield done
    else:
        is_first = True

        async def step(part: Sequence[int]) -> list[int]:
            nonlocal is_first
            done = await storage.settle_dead(shard, part, target, Part(is_first), cause)
            is_first = is_first and not done
            return done

        async for done in in_steps(wanted, step):
            yield done


async def _parts_to_the_head(
    storage: Storage, shard: Shard, numbers: Sequence[int]
) -> AsyncIterator[tuple[Part, Sequence[int]]]:
    """Whole threads, as many as one step takes; a larger thread by itself."""
    together = _Step()
    for letters in (await _by_thread(storage, shard, numbers)).values():
        steps = _steps(letters)
        if len(steps) > 1:
            for index, step in enumerate(steps):
                yield Part(index == 0, index == len(steps) - 1), step.numbers
        elif not together.has_room(steps[0]):
            yield Part(), together.numbers
            together = steps[0]
        else:
            together.add(steps[0])
    yield Part(), together.numbers


async def _by_thread(storage: Storage, shard: Shard, numbers: Sequence[int]) -> dict[str, list[LetterThread]]:
    """The letters of each thread, the last one first: in a step, each letter goes before the one that it follows."""
    threads: dict[str, list[LetterThread]] = {}
    for begin in range(0, len(numbers), STEP_NUMBERS):
        for letter in await storage.letter_threads(shard, numbers[begin : begin + STEP_NUMBERS]):
            threads.setdefault(letter.thread, []).append(letter)
    for letters in threads.values():
        letters.reverse()
    return threads


class _Step:
    """Letters of one step."""

    def __init__(self, *numbers: int, size: int = 0) -> None:
        self.numbers, self.bytes = list(numbers), size

    def has_room(self, other: "_Step") -> bool:
        is_fitting = len(self.numbers) + len(other.numbers) <= STEP_NUMBERS and self.bytes + other.bytes <= STEP_BYTES
        return is_fitting or not self.numbers

    def add(self, other: "_Step") -> None:
        self.numbers += other.numbers
        self.bytes += other.bytes


def _steps(letters: Sequence[LetterThread]) -> list[_Step]:
    steps = [_Step()]
    for letter in letters:
        one = _Step(letter.number, size=letter.bytes)
        if not steps[-1].has_room(one):
            steps.append(_Step())
        steps[-1].add(one)
    return steps
