"""What the holders of threads reported of the batches in their hands."""

from collections.abc import Sequence

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.state import Progress


def progress(shard: MemoryShard, threads: Sequence[str], now: int) -> dict[str, Progress]:
    return {thread: report for thread in threads if (report := shard.progress_of(thread, now))}
