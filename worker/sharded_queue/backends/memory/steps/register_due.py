"""Register occurrences of schedules that are due."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.storage import Entry, First


def register_due(shard: MemoryShard, now: int) -> float | None:
    """Returns the seconds until the next occurrence, None if there are no schedules."""
    shard.follow_clock(now)
    shard.promote(now)
    for name in shard.occurrences.up_to(now):
        schedule, moment = shard.schedules[name], int(shard.occurrences[name])
        shard.occurrences.put(name, schedule.timing.after(now, moment))
        if schedule.skip_if_waiting and _is_waiting(shard, name):
            continue
        thread = shard.thread_in_force(schedule.thread, schedule.body)
        sequence = shard.join(Entry(thread, schedule.priority, [schedule.body]), moment)
        shard.last_occurrences[name] = First(thread, schedule.priority, sequence)
        shard.registered += 1
    return shard.seconds_to_occurrence(now)


def _is_waiting(shard: MemoryShard, name: str) -> bool:
    """Whether the last occurrence of a schedule has not been handled yet."""
    if (last := shard.last_occurrences.get(name)) is None:
        return False
    tube = shard.tube(last.thread, last.priority)
    return tube is not None and tube.head <= last.sequence
