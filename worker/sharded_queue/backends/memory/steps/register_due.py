"""Register occurrences of schedules that are due."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.storage import Entry


def register_due(shard: MemoryShard, now: int) -> float | None:
    """Returns the seconds until the next occurrence, None if there are no schedules."""
    shard.follow_clock(now)
    shard.promote(now)
    for name in shard.occurrences.up_to(now):
        schedule, moment = shard.schedules[name], int(shard.occurrences[name])
        shard.join(Entry(schedule.thread, schedule.priority, [schedule.body]), moment)
        shard.registered += 1
        shard.occurrences.put(name, schedule.timing.after(now, moment))
    return shard.seconds_to_occurrence(now)
