"""Put dead letters back into their tubes, or drop them."""

from collections.abc import Sequence
from math import inf

from sortedcontainers import SortedDict

from sharded_queue.backends.memory.shard import MemoryShard, TubeBuffer, depth_of
from sharded_queue.serializer import STAMP_DIGITS
from sharded_queue.state import Dead, Drop
from sharded_queue.storage import Cause, Part, Target

REPLAY = "its dead letters are being put back at its head"


def settle_dead(
    shard: MemoryShard, numbers: Sequence[int], target: Target, part: Part, cause: Cause | None, now: int
) -> list[int]:
    letters = [shard.letters[number] for number in dict.fromkeys(numbers) if number in shard.letters]
    if target != "drop":
        placed = [(letter, shard.thread_in_force(letter.thread, letter.message[STAMP_DIGITS:])) for letter in letters]
        letters = [
            letter._replace(thread=thread)
            for letter, thread in placed
            if target == "tail" or _may_go_to_the_head(shard, thread, part)
        ]
        before = {letter.thread: depth_of(shard.threads.get(letter.thread, SortedDict())) for letter in letters}
        for letter in letters:
            _put_back(shard, letter, target)
        for thread, depth in before.items():
            is_resumed = target == "head" and _switch(shard, thread, is_over=part.is_last)
            if is_resumed or depth == 0:
                shard.arrive(thread)
    for letter in letters:
        del shard.letters[letter.number]
    if target == "drop" and cause and letters:
        _record(shard, cause, part, [letter.number for letter in letters], now)
    return [letter.number for letter in letters]


def _record(shard: MemoryShard, cause: Cause, part: Part, numbers: Sequence[int], now: int) -> None:
    """One record for all parts of a drop."""
    newest = shard.drops[0] if shard.drops and not part.is_first else None
    if newest and (newest.actor, newest.reason, newest.thread) == (*cause, ""):
        shard.drops[0] = newest._replace(requests=newest.requests + len(numbers))
    else:
        shard.drops.appendleft(Drop(now, cause.actor, cause.reason, "", len(numbers), numbers[0]))


def _may_go_to_the_head(shard: MemoryShard, thread: str, part: Part) -> bool:
    return thread not in shard.held and (part.is_first or shard.blocked.score(thread) == inf)


def _put_back(shard: MemoryShard, letter: Dead, target: Target) -> None:
    thread, priority = letter.thread, letter.priority
    tubes = shard.threads.setdefault(thread, SortedDict())
    tube = tubes.setdefault(priority, TubeBuffer(shard.sequence + 1))
    if target == "head":
        tube.messages.appendleft(letter.message)
        tube.head -= 1
    else:
        tube.messages.append(letter.message)
    shard.sequence += 2
    shard.depth += 1
    shard.oldest.put(f"{thread}/{priority}", tube.oldest_ms)
    shard.index_older(thread, tube.oldest_ms)
    shard.index_depth(thread, tubes)


def _switch(shard: MemoryShard, thread: str, *, is_over: bool) -> bool:
    """Pause a thread until the last step, and end that pause with it; returns whether it ended."""
    if is_over:
        is_ours = shard.acts.pop(thread, None) is not None and thread not in shard.resumes
        if is_ours:
            shard.unblock(thread)
        return is_ours and thread not in shard.blocked
    if shard.blocked.score(thread) != inf or thread in shard.resumes:  # that pause may end before the last step
        shard.acts[thread] = REPLAY
        shard.blocked.put(thread, inf)
        shard.ready.discard(thread)
        shard.parked.discard(thread)
    return False
