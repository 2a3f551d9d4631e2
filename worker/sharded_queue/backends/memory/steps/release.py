"""Free threads, at once or after a while."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.lease import Lease


def release(shard: MemoryShard, lease: Lease, delay_ms: int, now: int) -> None:
    thread = lease.thread
    if not shard.held_by(lease):
        return
    shard.let_go(thread)
    if delay_ms <= 0 or thread not in shard.threads:
        shard.make_ready(thread)
        return
    shard.follow_clock(now)
    shard.hold_back(thread, now + delay_ms)
