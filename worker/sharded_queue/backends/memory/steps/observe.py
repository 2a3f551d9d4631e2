"""The state of a shard, with a bounded number of tubes, threads and holds."""

from collections.abc import Iterator, Sequence
from math import inf

from sharded_queue.backends.memory.shard import STOPPED, MemoryShard, depth_of
from sharded_queue.backends.memory.steps.workers import workers
from sharded_queue.state import TOLD_SECONDS, About, Blocked, Hold, ShardState, State, TubeLag, busy_seconds
from sharded_queue.tube import thread_and_priority

SWEEP = 1000
"""Parked threads whose depths are counted at most, and blocked ones that are listed."""
WORKERS_READ = 100


def observe(shard: MemoryShard, worst: int, holds: int, now: int) -> ShardState:
    lags = [_tube_lag(shard, name, int(stamp), now) for name, stamp in shard.oldest.lowest(max(worst, 1))]
    return ShardState(
        shard=shard.id,
        depth=shard.depth,
        threads=len(shard.threads),
        ready=len(shard.ready) + sum(_is_lapsed(shard, thread) for thread in shard.leases.up_to(now)),
        bound=len(shard.leases.above(now)),
        blocked=len(shard.blocked),
        lag_seconds=lags[0].lag_seconds if lags else 0.0,
        deepest=_deepest(shard, worst),
        oldest=lags,
        held=list(_holds(shard, holds, [lag.thread for lag in lags], now)),
        registered=shard.registered,
        settled=shard.settled,
        dead=shard.dead,
        busy_seconds=shard.busy_seconds,
        born=shard.born,
        is_paused=_is_paused(shard, now),
        delayed=len(shard.due),
        overdue=sum(due <= now for due, _, _ in shard.due) + len(shard.occurrences.up_to(now)),
        overdue_seconds=_overdue_seconds(shard, now),
        told_seconds=min((told.told_seconds for told in workers(shard, WORKERS_READ, now)), default=None),
        polled_seconds=None if shard.polled_ms is None else max(0, now - shard.polled_ms) / 1000,
        duplicates=shard.duplicates,
        schedules=len(shard.schedules),
        layout=shard.layout,
        undrained=len(shard.old),
        parked=len(shard.parked),
        parked_depth=sum(depth_of(shard.threads[thread]) for thread, _ in shard.parked.lowest(SWEEP)),
        letters=len(shard.letters),
        exhausted=len(shard.exhausted),
        paused=sum(not shard.is_pause_over(thread, now) for thread in shard.paused_threads()),
        blocked_threads=list(_blocked_threads(shard, now)),
        concurrencies=sorted({about.concurrency for about in _told_lately(shard, now)}),
    )


def _overdue_seconds(shard: MemoryShard, now: int) -> float:
    first = [due for due, _, _ in shard.due[:1]] + [int(occurs) for _, occurs in shard.occurrences.lowest(1)]
    return max(0, now - min(first, default=now)) / 1000


def _deepest(shard: MemoryShard, worst: int) -> list[tuple[str, int]]:
    """Blocked threads come on top, as they must not hide the threads that workers can have."""
    deep = shard.deep.highest(worst + min(SWEEP, len(shard.blocked))) if worst else []
    return [(thread, int(depth)) for thread, depth in deep if thread not in shard.parked]


def _blocked_threads(shard: MemoryShard, now: int) -> Iterator[Blocked]:
    ends = {name: STOPPED if name in shard.exhausted else ends for name, ends in shard.resumes.lowest(SWEEP) if name}
    till = dict(shard.blocked.lowest(SWEEP)) | ends
    for thread, until in sorted(till.items(), key=lambda each: (each[1], each[0]))[:SWEEP]:
        if tubes := shard.threads.get(thread):
            seconds = inf if until >= STOPPED else max(0.0, (until - now) / 1000)
            yield Blocked(thread, depth_of(tubes), seconds)


def _told_lately(shard: MemoryShard, now: int) -> list[About]:
    """What the last `WORKERS_READ` workers told, if they did so lately."""
    told = sorted(shard.workers.values(), key=lambda each: each[1], reverse=True)
    return [about for about, at in told[:WORKERS_READ] if at >= now - TOLD_SECONDS * 1000]


def _is_lapsed(shard: MemoryShard, thread: str) -> bool:
    """Whether a thread whose lease has ended is ready, though no worker has polled since."""
    return thread in shard.threads and thread not in shard.blocked


def _tube_lag(shard: MemoryShard, name: str, stamp: int, now: int) -> TubeLag:
    thread, priority = thread_and_priority(name)
    depth = len(shard.threads[thread][priority].messages)
    return TubeLag(thread, priority, depth, max(0, now - stamp) / 1000, _state_of(shard, thread, priority, now))


def _state_of(shard: MemoryShard, thread: str, priority: int, now: int) -> State:
    if thread in shard.held and shard.leases[thread] > now:
        return "failing" if shard.has_failed(thread, priority) else "bound"
    is_over = shard.is_pause_over(thread, now)
    if _is_paused(shard, now) or (shard.blocked.score(thread) == inf and not is_over):
        return "paused"
    if thread in shard.exhausted:
        return "exhausted"
    if thread in shard.parked:
        return "parked"
    return "ready" if thread not in shard.blocked or is_over else "blocked"


def _is_paused(shard: MemoryShard, now: int) -> bool:
    return shard.is_paused and not shard.is_pause_over("", now)


def _holds(shard: MemoryShard, count: int, waiting: Sequence[str], now: int) -> Iterator[Hold]:
    """At most *count* bound threads, and those of the threads that wait longest."""
    listed = dict.fromkeys([*[thread for thread, _ in shard.leases.lowest(count)], *waiting])
    for thread, held in [(thread, shard.held[thread]) for thread in listed if thread in shard.held]:
        lease_seconds = (shard.leases[thread] - now) / 1000
        busy, in_hand = busy_seconds(held.since_ms, now), max(0, held.last - held.first + 1)
        yield Hold(thread, held.owner, held.fence, busy, lease_seconds, in_hand)
