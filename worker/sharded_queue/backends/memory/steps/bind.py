"""Bind threads that are free and have requests, the oldest request first, and hand out their first requests."""

from sharded_queue.backends.memory.shard import HoldRecord, MemoryShard, share_of
from sharded_queue.backends.memory.steps.outlook import soonest
from sharded_queue.backends.memory.steps.pause import end_pause
from sharded_queue.coordinator import BindRequest, Bound
from sharded_queue.lease import Lease
from sharded_queue.storage import Batch

SWEEP = 30
"""Parked threads that one bind makes ready at most."""


def bind(shard: MemoryShard, request: BindRequest, crash_limit: int, room: int, now: int) -> Bound:
    """All messages together take at most *room* bytes, unless a single one is larger."""
    shard.follow_clock(now)
    _clamp_leases(shard, now + int(request.lease_seconds * 1000), now)
    _free_threads(shard, crash_limit, now, stops=request.stops_exhausted)
    shard.promote(now)
    _unpark(shard)
    is_cordoned = shard.is_cordoned(request.owner, now)
    threads, ahead = (0, 0) if request.wanted < 1 or is_cordoned else (request.threads, request.ahead)
    shard.polled_ms = now if threads + ahead > 0 else shard.polled_ms
    threads += min(ahead, max(0, len(shard.ready) - threads) // 2)
    shard.note_worker(request.owner, request.about, now)
    batches: list[Batch] = []
    sharing = 0 if shard.is_paused else min(threads, len(shard.ready))
    for left in range(sharing, 0, -1):
        if batches and room <= 0:
            break
        thread = shard.ready.pop_lowest()
        lease, held = _hold(shard, thread, request, now)
        batches.append(shard.hand_out(lease, held, request.wanted, share_of(room, left), now))
        room -= batches[-1].bytes
    others_wait = (bool(batches) or is_cordoned) and len(shard.ready) > 0
    next_ms = soonest(shard, now)
    next_seconds = None if next_ms is None else next_ms / 1000
    return Bound(batches, next_seconds, others_wait, is_cordoned, shard.seconds_to_occurrence(now))


def _clamp_leases(shard: MemoryShard, latest: int, now: int) -> None:
    """A clock that was set back must not freeze a thread: no lease ends later than a full lease from now."""
    for thread in shard.leases.above(latest):
        shard.leases.put(thread, min(shard.leases[thread], now + shard.held[thread].lease_ms))


def _free_threads(shard: MemoryShard, crash_limit: int, now: int, *, stops: bool) -> None:
    """Threads whose leases expired, and those whose back-offs or pauses ended."""
    for thread in shard.leases.up_to(now):
        shard.expire(thread, crash_limit, now, stops=stops)
    for thread in shard.blocked.up_to(now):
        shard.blocked.discard(thread)
        shard.make_ready(thread)
    for thread in shard.resumes.up_to(now):
        end_pause(shard, thread)


def _unpark(shard: MemoryShard) -> None:
    """Parked threads whose old ones are drained become ready, at most `SWEEP` of them at a time."""
    left = SWEEP
    while left and shard.unparking:
        residue = shard.unparking[0]
        threads = shard.parked.at(residue, left)
        for thread in threads:
            shard.parked.discard(thread)
            shard.make_ready(thread, is_unparked=True)
        if len(threads) < left:
            shard.unparking.discard(residue)
        left -= len(threads)


def _hold(shard: MemoryShard, thread: str, request: BindRequest, now: int) -> tuple[Lease, HoldRecord]:
    lease_ms, ageing_ms = int(request.lease_seconds * 1000), int(request.ageing_seconds * 1000)
    shard.fence = max(shard.fence + 1, now * 1000)
    held = shard.held[thread] = HoldRecord(shard.fence, request.owner, now, lease_ms, ageing_ms)
    shard.leases.put(thread, now + lease_ms)
    return Lease(shard.id, thread, request.owner, shard.fence), held
