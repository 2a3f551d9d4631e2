"""Registering, at once, delayed, without duplicates, and by schedules."""

from typing import Any

from bench.growth.block import SHARD, Bed, Block, entries
from sharded_queue.storage import Entry, Registration, Schedule
from sharded_queue.timing import every

REQUESTS, THREADS = 10_000, 1_000
SCHEDULES = 1_000
LONG_AGO_MS = 1_600_000_000_000


def registering(given: list[Entry], **how: Any) -> Any:
    async def act(bed: Bed, _: Any) -> None:
        await bed.storage.register(SHARD, Registration(given, **how))

    return act


async def full_of_schedules(bed: Bed) -> None:
    for number in range(SCHEDULES):
        await bed.storage.schedule(SHARD, Schedule(f"s{number}", every(60), f"t{number}", 0, b"again"))
    await bed.redis.zadd(f"{bed.base}:occurrences", {f"s{number}": LONG_AGO_MS for number in range(SCHEDULES)})


async def register_due(bed: Bed, _: Any) -> None:
    await bed.storage.register_due(SHARD)


async def schedule(bed: Bed, _: Any) -> None:
    await bed.storage.schedule(SHARD, Schedule("s0", every(60), "t0", 0, b"x" * 1_000_000))


async def edit_schedule(bed: Bed, _: Any) -> None:
    await bed.storage.edit_schedule(SHARD, "s0", every(60))


async def run_schedule(bed: Bed, _: Any) -> None:
    await bed.storage.run_schedule(SHARD, "s0")


async def unschedule(bed: Bed, _: Any) -> None:
    await bed.storage.unschedule(SHARD, "s0")


BLOCKS = (
    Block("register", f"{REQUESTS:,} requests of one thread", registering(entries(1, REQUESTS))),
    Block("register", f"{THREADS:,} new threads", registering(entries(THREADS))),
    Block("register_due", f"{SCHEDULES:,} schedules that are due at once", register_due, full_of_schedules),
    Block("schedule", "a request of 1 MB", schedule),
    Block("edit_schedule", "a request of 1 MB", edit_schedule, lambda bed: schedule(bed, None)),
    Block("run_schedule", "a request of 1 MB", run_schedule, lambda bed: schedule(bed, None)),
    Block("unschedule", "a request of 1 MB", unschedule, lambda bed: schedule(bed, None)),
)
