"""The requests for which threads stand still get all of their tries again. A pause of a thread stays."""

from collections.abc import Sequence

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.state import Exhausted


def try_anew(shard: MemoryShard, threads: Sequence[Exhausted]) -> list[str]:
    """Returns the threads that still stand still as they are given here: their requests are tried again."""
    done = [each.thread for each in threads if shard.exhausted.get(each.thread) == (each.priority, each.since_ms)]
    for thread in done:
        if shard.try_anew(thread):
            shard.make_ready(thread)
    return done
