"""Register occurrences of schedules that are due."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.storage import Entry


def register_due(shard: MemoryShard, now: int) -> float | None:
    """Returns the seconds until the next occurrence, None if there are no schedules."""
    shard.follow_clock(now)
    shard.promote(now)
    for name in shard.occurrences.up_to(now):
        schedule, moment = shard.schedules[name], int(shard.occurrences[name])
        thread = shard.thread_in_force(schedule.thread, schedule.body)
        shard.append(Entry(thread, schedule.priority, [schedule.body]), shard.sequence, moment)
        shard.sequence += 1
        shard.registered += 1
        shard.occurrences.put(name, schedule.timing.after(now, moment))
    return shard.seconds_to_occurrence(now)
