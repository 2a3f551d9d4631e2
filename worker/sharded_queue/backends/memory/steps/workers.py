"""Workers that told of themselves lately."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.state import WorkerState

KEPT_MS = 300_000
"""After this time without a word from it, a worker is forgotten."""


def workers(shard: MemoryShard, count: int, now: int) -> list[WorkerState]:
    """The latest first."""
    shard.workers = {owner: told for owner, told in shard.workers.items() if told[1] >= now - KEPT_MS}
    told = [
        WorkerState(owner, *about[:3], max(0, now - told_ms) / 1000, about.retry_limit)
        for owner, (about, told_ms) in shard.workers.items()
    ]
    return sorted(told, key=lambda each: (each.told_seconds, each.owner))[:count]
