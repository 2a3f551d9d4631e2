"""Free all threads of workers that are known to be gone, without waiting for their leases."""

from collections.abc import Sequence

from sharded_queue.backends.memory.shard import MemoryShard


def evict(shard: MemoryShard, names: Sequence[str]) -> list[str]:
    freed = [thread for thread, held in shard.held.items() if held.owner.partition("/")[0] in names]
    for thread in freed:
        shard.let_go(thread)
        shard.make_ready(thread)
    return freed
