"""Withhold a handler's or a thread's requests, or give them out again."""

from math import inf

from sharded_queue.backends.memory.shard import STOPPED, MemoryShard
from sharded_queue.state import PausedBy
from sharded_queue.storage import Cause


def pause(
    shard: MemoryShard, thread: str | None, is_paused: bool, by: Cause | None, seconds: float | None, now: int
) -> bool:
    until = None if seconds is None else now + int(seconds * 1000)
    changed = _withhold(shard, thread or "", by, until, now) if is_paused else resume(shard, thread or "")
    shard.wake()
    return changed


def _withhold(shard: MemoryShard, name: str, by: Cause | None, until: int | None, now: int) -> bool:
    """*name*: of the thread, or '' for the whole shard."""
    if name:
        changed = _withhold_thread(shard, name, is_passing=until is not None)
    else:
        changed, shard.is_paused = not shard.is_paused, True
    if by or changed:  # a pause of which nobody says anything leaves that of a person as it is
        shard.resumes.discard(name)
        shard.pauses.pop(name, None)
    if by:
        shard.pauses[name] = PausedBy(now, *by, until)
    if until is not None:
        shard.resumes.put(name, until)
    return changed


def _withhold_thread(shard: MemoryShard, thread: str, *, is_passing: bool) -> bool:
    """An act goes on below a pause that may end before it."""
    changed = shard.blocked.score(thread) != inf or thread in shard.acts
    if not is_passing:
        shard.acts.pop(thread, None)
    shard.blocked.put(thread, inf)
    shard.ready.discard(thread)
    shard.parked.discard(thread)
    return changed


def resume(shard: MemoryShard, name: str) -> bool:
    """Give the requests of a thread out again, or with '' those of the shard; returns whether they were withheld."""
    if name:
        changed = shard.try_anew(name) if shard.blocked.score(name) == STOPPED else shard.unblock(name)
        shard.acts.pop(name, None)
        if name not in shard.held:
            shard.make_ready(name)
    else:
        changed, shard.is_paused = shard.is_paused, False
    shard.pauses.pop(name, None)
    shard.resumes.discard(name)
    return changed


def end_pause(shard: MemoryShard, name: str) -> None:
    """The end of a pause has come. The last step of an act that has paused the thread as well resumes it."""
    if name in shard.acts:
        shard.pauses.pop(name, None)
        shard.resumes.discard(name)
    else:
        resume(shard, name)
