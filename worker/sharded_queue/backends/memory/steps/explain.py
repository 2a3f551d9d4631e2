"""Everything that decides whether a thread moves."""

from math import inf

from sharded_queue.backends.memory.shard import STOPPED, MemoryShard, TubeBuffer
from sharded_queue.backends.memory.steps.exhausted import exhausted_of
from sharded_queue.backends.memory.steps.workers import workers
from sharded_queue.state import ThreadState, TubeState, busy_seconds


def explain(shard: MemoryShard, thread: str, now: int) -> ThreadState:
    held, blocked = shard.held.get(thread), shard.blocked.score(thread)
    if blocked == STOPPED or (shard.is_pause_over(thread, now) and thread not in shard.acts):
        blocked = None
    is_paused = shard.is_paused and not shard.is_pause_over("", now)
    by = shard.pauses.get(thread) if blocked == inf else None
    return ThreadState(
        thread=thread,
        tubes=[
            _tube_state(shard, thread, priority, tube, now) for priority, tube in shard.threads.get(thread, {}).items()
        ],
        is_handler_paused=is_paused,
        owner=held.owner if held else None,
        lease_seconds=(shard.leases[thread] - now) / 1000 if held else None,
        blocked_seconds=None if blocked is None else (blocked - now) / 1000,
        ahead=shard.ready.rank(thread),
        waits_for=shard.old.at(shard.parked[thread], 100) if thread in shard.parked else None,
        in_hand=max(0, held.last - held.first + 1) if held else 0,
        busy_seconds=None if held is None else busy_seconds(held.since_ms, now),
        act=shard.acts.get(thread),
        paused_by=by or (shard.pauses.get("") if is_paused else None),
        exhausted=exhausted_of(shard, thread),
        bound=len(shard.leases.above(now)),
        progress=shard.progress_of(thread, now),
        failures=shard.history.get(thread, []),
        workers=workers(shard, 100, now),
        polled_seconds=None if shard.polled_ms is None else (now - shard.polled_ms) / 1000,
    )


def _tube_state(shard: MemoryShard, thread: str, priority: int, tube: TubeBuffer, now: int) -> TubeState:
    lag_seconds = max(0, now - tube.oldest_ms) / 1000
    failure = shard.failures.get((thread, priority))
    if failure is None or failure.sequence != tube.head:
        return TubeState(priority, len(tube.messages), lag_seconds)
    return TubeState(priority, len(tube.messages), lag_seconds, failure.attempts, failure.crashes, failure.error)
