"""Give a schedule another timing. While the timing is the same, the next occurrence stays."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.timing import Timing


def edit_schedule(shard: MemoryShard, name: str, timing: Timing, now: int) -> int | None:
    shard.follow_clock(now)
    if (known := shard.schedules.get(name)) is None:
        return None
    if known.timing != timing:
        shard.occurrences.put(name, timing.after(now))
    shard.schedules[name] = known._replace(timing=timing)
    shard.wake()
    return int(shard.occurrences[name])
