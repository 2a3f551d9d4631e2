"""Delayed requests join the tails of their tubes now."""

from collections.abc import Sequence

from sharded_queue.backends.memory.shard import MemoryShard


def run_delayed(shard: MemoryShard, numbers: Sequence[int], now: int) -> list[int]:
    waiting = {number: (due, number, entry) for due, number, entry in shard.due}
    joined = [number for number in dict.fromkeys(numbers) if number in waiting]
    for number in joined:
        shard.due.discard(waiting[number])
        shard.named.pop(number, None)
        shard.join(waiting[number][2], now)
    return joined
