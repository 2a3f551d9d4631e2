"""Free all threads of workers that are known to be gone, without waiting for their leases."""

from collections.abc import Sequence

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.lease import worker_of


def evict(shard: MemoryShard, names: Sequence[str]) -> list[str]:
    freed = [thread for thread, held in shard.held.items() if worker_of(held.owner) in names]
    for thread in freed:
        shard.let_go(thread)
        shard.make_ready(thread)
    return freed
