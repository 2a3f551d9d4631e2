"""The first requests of a tube, left where they are."""

from sharded_queue.backends.memory.shard import MemoryShard, first_messages
from sharded_queue.tube import Tube


def peek(shard: MemoryShard, tube: Tube, count: int, room: int) -> list[tuple[int, bytes]]:
    buffer = shard.tube(tube.thread, tube.priority)
    return list(enumerate(first_messages(buffer.messages, count, room), buffer.head)) if buffer else []
