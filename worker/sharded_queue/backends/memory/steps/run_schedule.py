"""Register the request of a schedule now, beside its occurrences."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.storage import Entry, First


def run_schedule(shard: MemoryShard, name: str, now: int) -> First | None:
    if (schedule := shard.schedules.get(name)) is None:
        return None
    thread = shard.thread_in_force(schedule.thread, schedule.body)
    sequence = shard.join(Entry(thread, schedule.priority, [schedule.body]), now)
    shard.registered += 1
    return First(thread, schedule.priority, sequence)
