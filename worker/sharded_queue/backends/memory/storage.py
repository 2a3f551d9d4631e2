"""Tubes in the memory of this process: for tests, and for work that need not outlive it."""

import time
from collections.abc import Callable, Sequence

from sharded_queue.backends.memory.shard import MemoryShards, share_of
from sharded_queue.backends.memory.steps.cancel import cancel
from sharded_queue.backends.memory.steps.delayed import delayed
from sharded_queue.backends.memory.steps.drop import drop
from sharded_queue.backends.memory.steps.edit_schedule import edit_schedule
from sharded_queue.backends.memory.steps.exhausted import exhausted_of
from sharded_queue.backends.memory.steps.explain import explain
from sharded_queue.backends.memory.steps.fail import fail
from sharded_queue.backends.memory.steps.letter_threads import letter_threads
from sharded_queue.backends.memory.steps.move_delayed import move_delayed
from sharded_queue.backends.memory.steps.observe import observe
from sharded_queue.backends.memory.steps.pause import pause
from sharded_queue.backends.memory.steps.peek import peek
from sharded_queue.backends.memory.steps.progress import progress
from sharded_queue.backends.memory.steps.read_letters import read_letters
from sharded_queue.backends.memory.steps.register import register
from sharded_queue.backends.memory.steps.register_due import register_due
from sharded_queue.backends.memory.steps.reshard import reshard
from sharded_queue.backends.memory.steps.run_delayed import run_delayed
from sharded_queue.backends.memory.steps.run_schedule import run_schedule
from sharded_queue.backends.memory.steps.schedule import put_schedule
from sharded_queue.backends.memory.steps.schedules import schedules
from sharded_queue.backends.memory.steps.settle import Yields, settle
from sharded_queue.backends.memory.steps.settle_dead import settle_dead
from sharded_queue.backends.memory.steps.try_anew import try_anew
from sharded_queue.backends.memory.steps.unschedule import unschedule
from sharded_queue.backends.memory.steps.workers import workers
from sharded_queue.settings import settings
from sharded_queue.state import (
    Dead,
    Delayed,
    Drop,
    Exhausted,
    PausedBy,
    Progress,
    ShardState,
    ThreadState,
    Upcoming,
    WorkerState,
)
from sharded_queue.storage import (
    WHOLE,
    Cause,
    Dropped,
    Failure,
    First,
    LetterPage,
    LetterThread,
    Part,
    Registered,
    Registration,
    Resharded,
    Schedule,
    Settled,
    Settlement,
    Storage,
    Target,
    Waiting,
    check_numbers,
    check_pause,
)
from sharded_queue.timing import Timing
from sharded_queue.tube import Layout, Shard, Tube


def wall_ms() -> int:
    return int(time.time() * 1000)


class RuntimeStorage(Storage):
    """
    Keeps tubes in a dict. Everything is gone with the process.

    *clock* returns milliseconds; tests give one of their own.
    """

    backend = "memory"

    def __init__(self, clock: Callable[[], int] = wall_ms) -> None:
        self.shards = MemoryShards(clock)

    async def register(self, shard: Shard, registration: Registration, *, seconds: float | None = None) -> Registered:
        return register(self.shards[shard], registration, self.shards.clock())

    async def schedule(self, shard: Shard, schedule: Schedule, layout: Layout | None = None) -> int:
        return put_schedule(self.shards[shard], schedule, layout, self.shards.clock())

    async def unschedule(self, shard: Shard, name: str) -> bool:
        return unschedule(self.shards[shard], name)

    async def has_schedule(self, shard: Shard, name: str) -> bool:
        return name in self.shards[shard].occurrences

    async def schedules(self, shard: Shard) -> list[Upcoming]:
        return schedules(self.shards[shard])

    async def delayed(self, shard: Shard, count: int = 100) -> list[Delayed]:
        return delayed(self.shards[shard], count)

    async def delayed_numbers(self, shard: Shard) -> list[int]:
        return [number for _, number, _ in self.shards[shard].due]

    async def cancel(self, shard: Shard, numbers: Sequence[int]) -> list[int]:
        check_numbers(numbers)
        return cancel(self.shards[shard], numbers, self.shards.clock())

    async def run_delayed(self, shard: Shard, numbers: Sequence[int]) -> list[int]:
        check_numbers(numbers)
        return run_delayed(self.shards[shard], numbers, self.shards.clock())

    async def move_delayed(self, shard: Shard, numbers: Sequence[int], due_ms: int) -> list[int]:
        check_numbers(numbers)
        return move_delayed(self.shards[shard], numbers, due_ms, self.shards.clock())

    async def edit_schedule(self, shard: Shard, name: str, timing: Timing) -> int | None:
        return edit_schedule(self.shards[shard], name, timing, self.shards.clock())

    async def run_schedule(self, shard: Shard, name: str) -> First | None:
        return run_schedule(self.shards[shard], name, self.shards.clock())

    async def register_due(self, shard: Shard) -> float | None:
        return register_due(self.shards[shard], self.shards.clock())

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        now, room, answers = self.shards.clock(), settings.worker_batch_bytes, list[Settled]()
        yielded = Yields()
        for index, settlement in enumerate(settlements):
            share = share_of(room, len(settlements) - index)
            answers.append(settle(self.shards[settlement.lease.shard], settlement, share, now, yielded))
            room -= answers[-1].batch.bytes if answers[-1].batch else 0
        return answers

    async def fail(self, failure: Failure) -> bool:
        return fail(self.shards[failure.lease.shard], failure, self.shards.clock())

    async def observe(self, shards: Sequence[Shard], worst: int = 10, holds: int = 1000) -> list[ShardState]:
        now = self.shards.clock()
        return [observe(self.shards[shard], worst, holds, now) for shard in shards]

    async def peek(self, tube: Tube, count: int = 10, after: int | None = None) -> list[tuple[int, bytes]]:
        return peek(self.shards[tube.shard], tube, count, settings.worker_batch_bytes, after)

    async def explain(self, shard: Shard, thread: str) -> ThreadState:
        return explain(self.shards[shard], thread, self.shards.clock())

    async def letter_numbers(self, shard: Shard) -> list[int]:
        return sorted(self.shards[shard].letters)

    async def read_letters(self, shard: Shard, numbers: Sequence[int]) -> LetterPage:
        check_numbers(numbers)
        return read_letters(self.shards[shard], numbers)

    async def letter_threads(self, shard: Shard, numbers: Sequence[int]) -> list[LetterThread]:
        return letter_threads(self.shards[shard], numbers)

    async def settle_dead(
        self,
        shard: Shard,
        numbers: Sequence[int],
        target: Target,
        part: Part = WHOLE,
        cause: Cause | None = None,
    ) -> list[int]:
        check_numbers(numbers)
        if cause:
            cause.check()
        return settle_dead(self.shards[shard], numbers, target, part, cause, self.shards.clock())

    async def drop(self, shard: Shard, thread: str, cause: Cause, requests: Sequence[Waiting] | None = None) -> Dropped:
        now = self.shards.clock()
        return drop(self.shards[shard], thread, cause, requests, now)

    async def drops(self, shard: Shard, count: int = 100) -> list[Drop]:
        return list(self.shards[shard].drops)[:count]

    async def has_identities(self, shard: Shard) -> bool:
        return bool(self.shards[shard].identities)

    async def pause(
        self, shard: Shard, thread: str | None, is_paused: bool, by: Cause | None = None, seconds: float | None = None
    ) -> bool:
        check_pause(by, seconds)
        return pause(self.shards[shard], thread, is_paused, by, seconds, self.shards.clock())

    async def pauses(self, shard: Shard) -> dict[str, PausedBy]:
        return dict(self.shards[shard].pauses)

    async def paused(self, shard: Shard) -> list[str]:
        return self.shards[shard].paused_threads()

    async def exhausted(self, shard: Shard, page: str = "") -> tuple[list[Exhausted], str]:
        found = self.shards[shard].exhausted
        return [each for thread in found if (each := exhausted_of(self.shards[shard], thread))], ""

    async def try_anew(self, shard: Shard, threads: Sequence[Exhausted]) -> list[str]:
        return try_anew(self.shards[shard], threads)

    async def acts(self, shard: Shard) -> dict[str, str]:
        return dict(self.shards[shard].acts)

    async def reshard(self, shard: Shard, threads: int) -> Resharded:
        return reshard(self.shards[shard], threads)

    async def progress(self, shard: Shard, threads: Sequence[str]) -> dict[str, Progress]:
        return progress(self.shards[shard], threads, self.shards.clock())

    async def workers(self, shard: Shard, count: int = 1000) -> list[WorkerState]:
        return workers(self.shards[shard], count, self.shards.clock())

    async def dead(self, shard: Shard, count: int = 100) -> list[Dead]:
        return sorted(self.shards[shard].letters.values(), key=lambda letter: -letter.number)[:count]
