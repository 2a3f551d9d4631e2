"""Put a schedule in the place of the one of its name. While its timing is the same, its next occurrence stays."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.storage import Schedule
from sharded_queue.tube import Layout


def put_schedule(shard: MemoryShard, new: Schedule, layout: Layout | None, now: int) -> int:
    shard.follow_clock(now)
    shard.layout = shard.layout or layout
    known = shard.schedules.get(new.name)
    if known is None or known.timing != new.timing:
        shard.occurrences.put(new.name, new.timing.after(now))
    shard.begin(now)
    shard.schedules[new.name] = new
    if known is None or not (known.skip_if_waiting and new.skip_if_waiting):
        shard.last_occurrences.pop(new.name, None)
    shard.wake()
    return int(shard.occurrences[new.name])
