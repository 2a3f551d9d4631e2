"""Remove requests that were handled, and hand out what comes next. Each lease stands for itself."""

from sharded_queue.backends.memory.shard import HoldRecord, MemoryShard
from sharded_queue.storage import Settled, Settlement


class Yields:
    """The threads that yielded in one call: all that lined up, and those that made way for threads of this shard."""

    def __init__(self) -> None:
        self.lined_up = self.made_way = 0


def settle(shard: MemoryShard, settlement: Settlement, room: int, now: int, yielded: Yields) -> Settled:
    lease, priority, through, busy_seconds, *_ = settlement
    call = settlement.call
    shard.promote(now)
    if not (held := shard.held_by(lease)):
        return Settled(is_lost=True)
    tube = shard.tube(lease.thread, priority)
    was_settled = through is not None and (tube is None or tube.head > through)
    if was_settled or held.is_answered(call):
        return Settled(shard.in_hand(lease, held) if held.first <= held.last and not held.is_unasked else None)
    if through is not None and tube:
        if held.priority != priority or through > held.last:
            return Settled(is_lost=True)
        shard.busy_seconds += busy_seconds
        shard.settled += through + 1 - tube.head
        shard.pop_requests(lease.thread, priority, through + 1 - tube.head)
    held.call = held.call if call is None else call
    return _go_on(shard, settlement, held, room, now, yielded)


def _go_on(
    shard: MemoryShard, settlement: Settlement, held: HoldRecord, room: int, now: int, yielded: Yields
) -> Settled:
    """What becomes of a lease after its report is settled."""
    lease, wanted, release, yields = settlement.lease, settlement.wanted, settlement.release, settlement.yields
    is_over = settlement.is_over or yields
    if wanted > 0 and shard.is_thread_paused(lease.thread):
        wanted, release = 0, True
    can_yield = is_over and wanted > 0 and lease.thread in shard.threads
    if can_yield and (yields or _others_wait(shard, lease.thread, now, yielded)):
        yielded.lined_up += 1
        return _yield(shard, lease.thread, now)
    if wanted > 0 and lease.thread in shard.threads:
        return Settled(shard.hand_out(lease, held, wanted, room, now))
    if release or is_over:
        shard.let_go(lease.thread)
        shard.make_ready(lease.thread)
        return Settled(is_released=True)
    held.first = held.last + 1
    if lease.thread not in shard.threads:
        held.since_ms = 0
    return Settled()


def _others_wait(shard: MemoryShard, thread: str, now: int, yielded: Yields) -> bool:
    """
    Whether another thread lacks a worker. Threads whose back-off is over, whose lease expired or that are parked no
    longer become ready only with the next `bind`, and while all workers are busy there is none.
    """
    expired = [each for each in shard.leases.up_to(now) if each != thread]
    waiting = len(shard.ready) + len(expired) + bool(shard.unparking) + len(shard.blocked.up_to(now))
    if waiting <= yielded.lined_up + yielded.made_way:
        return False
    yielded.made_way += 1
    return True


def _yield(shard: MemoryShard, thread: str, now: int) -> Settled:
    """The turn of a thread is over: it lines up behind the threads that wait now."""
    shard.let_go(thread)
    shard.ready.put(thread, now + 1)  # behind those of this very millisecond too
    shard.wake()
    return Settled(is_released=True)
