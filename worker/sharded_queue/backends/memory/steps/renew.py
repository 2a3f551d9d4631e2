"""Prolong leases."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.lease import Lease


def renew(shard: MemoryShard, lease: Lease, lease_ms: int, now: int) -> bool:
    """Returns False where the lease was lost."""
    if not shard.held_by(lease):
        return False
    shard.leases.put(lease.thread, now + lease_ms)
    return True
