"""Give workers no new threads for a while. They keep those that they hold."""

from collections.abc import Sequence

from sharded_queue.backends.memory.shard import MemoryShard


def cordon(shard: MemoryShard, names: Sequence[str], until: int) -> None:
    shard.cordoned.update(dict.fromkeys(names, until))
