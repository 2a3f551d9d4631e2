"""Requests of a tube in their order, left where they are."""

from itertools import islice

from sharded_queue.backends.memory.shard import MemoryShard, first_messages
from sharded_queue.tube import Tube


def peek(shard: MemoryShard, tube: Tube, count: int, room: int, after: int | None) -> list[tuple[int, bytes]]:
    buffer = shard.tube(tube.thread, tube.priority)
    if buffer is None:
        return []
    first = buffer.head if after is None else max(buffer.head, after + 1)
    rest = islice(buffer.messages, first - buffer.head, None)
    return list(enumerate(first_messages(rest, count, room), first))
