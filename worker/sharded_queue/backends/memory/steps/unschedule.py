"""Remove a schedule."""

from sharded_queue.backends.memory.shard import MemoryShard


def unschedule(shard: MemoryShard, name: str) -> bool:
    shard.occurrences.discard(name)
    shard.last_occurrences.pop(name, None)
    return shard.schedules.pop(name, None) is not None
