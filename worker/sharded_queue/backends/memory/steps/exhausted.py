"""Threads that stand still for a request without tries."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.state import Exhausted


def exhausted_of(shard: MemoryShard, thread: str) -> Exhausted | None:
    """For which request a thread stands still, if it does."""
    if thread not in shard.exhausted:
        return None
    priority, since_ms = shard.exhausted[thread]
    failure = shard.failures[thread, priority]
    return Exhausted(thread, priority, since_ms, failure.attempts, failure.crashes, failure.error)
