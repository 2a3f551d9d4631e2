"""Put dead letters back into their tubes, or drop them."""

from collections.abc import Sequence

from sortedcontainers import SortedDict

from sharded_queue.backends.memory.shard import MemoryShard, TubeBuffer, depth_of
from sharded_queue.serializer import STAMP_DIGITS
from sharded_queue.state import Dead
from sharded_queue.storage import Target


def settle_dead(shard: MemoryShard, numbers: Sequence[int], target: Target) -> list[int]:
    done = []
    for number in numbers:
        letter = shard.letters.get(number)
        if letter:
            letter = letter._replace(thread=shard.thread_in_force(letter.thread, letter.message[STAMP_DIGITS:]))
        if letter and not (target == "head" and letter.thread in shard.held):
            if target != "drop":
                _put_back(shard, letter, target)
            del shard.letters[number]
            done.append(number)
    return done


def _put_back(shard: MemoryShard, letter: Dead, target: Target) -> None:
    thread, priority = letter.thread, letter.priority
    tubes = shard.threads.setdefault(thread, SortedDict())
    before = depth_of(tubes)
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
    if before == 0:
        shard.arrive(thread)
