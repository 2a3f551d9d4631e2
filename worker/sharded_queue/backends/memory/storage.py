"""Tubes in the memory of this process: for tests, and for work that need not outlive it."""

import time
from collections.abc import Callable, Sequence

from sharded_queue.backends.memory.shard import Books, share_of
from sharded_queue.settings import settings
from sharded_queue.state import Dead, Delayed, ShardState, ThreadState, Upcoming
from sharded_queue.storage import Entry, Failure, Registered, Resharded, Schedule, Settled, Settlement, Storage, Target
from sharded_queue.tube import Layout, Shard, Tube


def wall_ms() -> int:
    return int(time.time() * 1000)


class RuntimeStorage(Storage):
    """
    Keeps tubes in a dict. Everything is gone with the process.

    *clock* returns milliseconds; tests give one of their own.
    """

    medium = "memory"

    def __init__(self, clock: Callable[[], int] = wall_ms) -> None:
        self.books = Books(clock)

    async def register(
        self,
        shard: Shard,
        entries: Sequence[Entry],
        capacity: int | None = None,
        delay_seconds: float = 0.0,
        layout: Layout | None = None,
    ) -> list[int]:
        return self.books[shard].register(entries, capacity, int(delay_seconds * 1000), layout, self.books.clock())

    async def register_once(
        self,
        shard: Shard,
        entries: Sequence[Entry],
        window_seconds: float,
        capacity: int | None = None,
        delay_seconds: float = 0.0,
        layout: Layout | None = None,
    ) -> Registered:
        window_ms, delay_ms = max(1, int(window_seconds * 1000)), int(delay_seconds * 1000)
        return self.books[shard].register_once(entries, window_ms, capacity, delay_ms, layout, self.books.clock())

    async def schedule(self, shard: Shard, schedule: Schedule, layout: Layout | None = None) -> int:
        return self.books[shard].schedule(schedule, layout, self.books.clock())

    async def unschedule(self, shard: Shard, name: str) -> bool:
        return self.books[shard].unschedule(name)

    async def has_schedule(self, shard: Shard, name: str) -> bool:
        return name in self.books[shard].occurrences

    async def schedules(self, shard: Shard) -> list[Upcoming]:
        return self.books[shard].upcoming()

    async def delayed(self, shard: Shard, count: int = 100) -> list[Delayed]:
        return self.books[shard].delayed(count)

    async def cancel(self, shard: Shard, numbers: Sequence[int]) -> list[int]:
        return self.books[shard].cancel(numbers, self.books.clock())

    async def occur(self, shard: Shard) -> float | None:
        return self.books[shard].occur(self.books.clock())

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        now, room, answers = self.books.clock(), settings.worker_batch_bytes, list[Settled]()
        for place, settlement in enumerate(settlements):
            share = share_of(room, len(settlements) - place)
            answers.append(self.books[settlement.lease.shard].settle(settlement, share, now))
            room -= answers[-1].batch.bytes if answers[-1].batch else 0
        return answers

    async def fail(self, failure: Failure) -> bool:
        return self.books[failure.lease.shard].fail(failure, self.books.clock())

    async def observe(self, shards: Sequence[Shard], worst: int = 10, holds: int = 1000) -> list[ShardState]:
        now = self.books.clock()
        return [self.books[shard].observe(worst, holds, now) for shard in shards]

    async def peek(self, tube: Tube, count: int = 10) -> list[tuple[int, bytes]]:
        return self.books[tube.shard].peek(tube, count, settings.worker_batch_bytes)

    async def explain(self, shard: Shard, thread: str) -> ThreadState:
        return self.books[shard].explain(thread, self.books.clock())

    async def settle_dead(self, shard: Shard, numbers: Sequence[int], target: Target) -> list[int]:
        return self.books[shard].settle_dead(numbers, target)

    async def pause(self, shard: Shard, thread: str | None, is_paused: bool) -> bool:
        return self.books[shard].pause(thread, is_paused)

    async def paused(self, shard: Shard) -> list[str]:
        return self.books[shard].paused()

    async def reshard(self, shard: Shard, threads: int) -> Resharded:
        return self.books[shard].reshard(threads)

    async def dead(self, shard: Shard, count: int = 100) -> list[Dead]:
        return sorted(self.books[shard].letters.values(), key=lambda letter: -letter.died_ms)[:count]
