"""A worker has nothing in a call but the one request that it holds of a thread, or no longer."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.lease import Lease


def isolate(shard: MemoryShard, lease: Lease, is_alone: bool, call: int) -> bool:
    """Returns False where the lease was lost."""
    held = shard.held_by(lease)
    if not held or held.first != held.last:
        return False
    if not held.is_answered(call):
        held.call, held.is_alone = call, is_alone
    return held.is_alone == is_alone
