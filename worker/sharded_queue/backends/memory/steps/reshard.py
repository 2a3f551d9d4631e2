"""Spread keys over another number of threads. New threads wait for the old ones that they may share keys with."""

from math import gcd

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.storage import Resharded, unfinished
from sharded_queue.tube import Layout


def reshard(shard: MemoryShard, threads: int) -> Resharded:
    if shard.layout is None:
        shard.layout = Layout(1, threads)
        return Resharded(shard.layout, 0, is_changed=True)
    if shard.layout.threads == threads:
        return Resharded(shard.layout, len(shard.old), is_changed=False)
    if len(shard.old) or shard.unparking:
        raise unfinished(shard.id, shard.layout, len(shard.old), threads)
    shard.before = shard.layout.threads
    step = gcd(threads, shard.before)
    for rank in range(shard.before):
        if (thread := shard.layout.thread(rank)) in shard.threads:
            shard.old.put(thread, rank % step)
    shard.layout = Layout(shard.layout.number + 1, threads)
    return Resharded(shard.layout, len(shard.old), is_changed=True)
