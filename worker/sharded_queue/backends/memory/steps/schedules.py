"""The schedules of a shard, the next to occur first."""

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.state import Upcoming


def schedules(shard: MemoryShard) -> list[Upcoming]:
    return [
        Upcoming(name, str(schedule.timing), *schedule[2:5], int(moment), schedule.skip_if_waiting)
        for name, moment in shard.occurrences.lowest(len(shard.occurrences))
        for schedule in [shard.schedules[name]]
    ]
