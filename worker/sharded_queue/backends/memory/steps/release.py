"""Free threads at once."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.lease import Lease


def release(shard: MemoryShard, lease: Lease) -> None:
    if shard.held_by(lease):
        shard.let_go(lease.thread)
        shard.make_ready(lease.thread)
