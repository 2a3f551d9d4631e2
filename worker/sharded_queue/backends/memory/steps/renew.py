"""Prolong leases, and remove what their holders have reported done of the batches in their hands."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.coordinator import PartDone
from sharded_queue.lease import Lease
from sharded_queue.state import Report


def renew(
    shard: MemoryShard, lease: Lease, report: Report | None, done: PartDone | None, lease_ms: int, now: int
) -> bool:
    """Returns False where the lease was lost."""
    if not shard.held_by(lease):
        return False
    shard.leases.put(lease.thread, now + lease_ms)
    if done is None:
        shard.note_report(lease, report, now)
    elif (first := _remove_done(shard, lease, done)) is not None and report:
        shard.note_report(lease, report._replace(first=first), now)
    return True


def _remove_done(shard: MemoryShard, lease: Lease, done: PartDone) -> int | None:
    """
    Remove requests whose work is done though the call goes on. The last one in hand stays, as its holder ends the
    batch. Returns the number of the first that is left, None where another call or renewal was faster.
    """
    held, tube = shard.held[lease.thread], shard.tube(lease.thread, done.priority)
    if tube is None or held.priority != done.priority or tube.head != held.first:
        return None
    if not done.first <= held.first <= done.through + 1:
        return None
    if (count := min(done.through, held.last - 1) - held.first + 1) > 0:
        shard.settled += count
        shard.pop_requests(lease.thread, done.priority, count)
        held.first += count
    return held.first
