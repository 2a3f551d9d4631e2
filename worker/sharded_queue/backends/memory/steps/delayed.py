"""Delayed requests, the next to be due first."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.state import Delayed
from sharded_queue.tube import Tube


def delayed(shard: MemoryShard, count: int) -> list[Delayed]:
    return [
        Delayed(Tube(shard.id, entry.thread, entry.priority), number, due, entry.bodies[0])
        for due, number, entry in shard.due[:count]
    ]
