"""Delayed requests become due at another time."""

from collections.abc import Sequence

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.storage import check_due


def move_delayed(shard: MemoryShard, numbers: Sequence[int], due_ms: int, now: int) -> list[int]:
    shard.follow_clock(now)
    check_due(due_ms, now)
    waiting = {number: (due, number, entry) for due, number, entry in shard.due}
    moved = [number for number in dict.fromkeys(numbers) if number in waiting]
    for number in moved:
        shard.due.discard(waiting[number])
        shard.due.add((due_ms, number, waiting[number][2]))
    if moved:
        shard.wake()
    return moved
