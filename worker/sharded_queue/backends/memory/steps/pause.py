"""Withhold a handler's or a thread's requests, or give them out again."""

from math import inf

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.state import PausedBy
from sharded_queue.storage import Cause


def pause(shard: MemoryShard, thread: str | None, is_paused: bool, by: Cause | None, now: int) -> bool:
    if thread is None:
        changed, shard.is_paused = shard.is_paused != is_paused, is_paused
    elif is_paused:
        was_of_an_act = shard.acts.pop(thread, None) is not None
        changed = shard.blocked.score(thread) != inf or was_of_an_act
        shard.blocked.put(thread, inf)
        shard.ready.discard(thread)
        shard.parked.discard(thread)
    else:
        changed = thread in shard.blocked
        shard.acts.pop(thread, None)
        shard.blocked.discard(thread)
        if thread not in shard.held:
            shard.make_ready(thread)
    if is_paused and by:
        shard.pauses[thread or ""] = PausedBy(now, *by)
    elif not is_paused or changed:
        shard.pauses.pop(thread or "", None)
    shard.wake()
    return changed
