"""Remove a schedule."""

from sharded_queue.backends.memory.shard import MemoryShard


def unschedule(shard: MemoryShard, name: str) -> bool:
    shard.occurrences.discard(name)
    return shard.schedules.pop(name, None) is not None
