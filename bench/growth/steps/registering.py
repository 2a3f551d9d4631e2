"""Registering, at once, delayed, without duplicates, and by schedules."""

from typing import Any

from bench.growth.block import SHARD, Bed, Block, entries, with_identities
from sharded_queue import settings
from sharded_queue.queue.queue import CALL_BYTES
from sharded_queue.storage import MOST_PRIORITIES, Entry, Registration, Schedule
from sharded_queue.timing import every

MOST = settings.register_limit
SIZE = CALL_BYTES // MOST - 13
"""Bytes of each of so many requests, so that all together are as many as a call may have."""
LARGEST = 4_194_304
SCHEDULES = 1_000
LONG_AGO_MS = 1_600_000_000_000


def registering(given: list[Entry], **how: Any) -> Any:
    async def act(bed: Bed, _: Any) -> None:
        await bed.storage.register(SHARD, Registration(given, **how))

    return act


async def old_identities(bed: Bed) -> None:
    """Of windows that are over, more than the call that is measured forgets."""
    for part in range(4):
        given = with_identities(entries(1, MOST, first=MOST), f"old{part}")
        await bed.storage.register(SHARD, Registration(given, window_seconds=0.001))


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
    Block("register", f"{MOST:,} requests of one thread", registering(entries(1, MOST))),
    Block("register", f"{MOST:,} new threads", registering(entries(MOST))),
    Block(
        "register",
        f"{MOST:,} requests of {MOST_PRIORITIES} priorities a thread",
        registering(entries(MOST // MOST_PRIORITIES, priorities=MOST_PRIORITIES)),
    ),
    Block("register", f"{MOST:,} requests of {CALL_BYTES:,} bytes", registering(entries(1, MOST, SIZE))),
    Block("register", f"a request of {LARGEST:,} bytes", registering(entries(1, 1, LARGEST))),
    Block("register", f"{MOST:,} delayed requests", registering(entries(MOST), delay_seconds=60)),
    Block(
        "register",
        f"{MOST:,} new threads without duplicates, and {CALL_BYTES:,} bytes",
        registering(with_identities(entries(MOST, size=SIZE)), window_seconds=60, capacity=10),
        old_identities,
    ),
    Block(
        "register",
        f"{MOST:,} delayed requests of new threads without duplicates, and {CALL_BYTES:,} bytes",
        registering(with_identities(entries(MOST, size=SIZE)), window_seconds=60, delay_seconds=60, capacity=10),
        old_identities,
    ),
    Block("register_due", f"{SCHEDULES:,} schedules that are due at once", register_due, full_of_schedules),
    Block("schedule", "a request of 1 MB", schedule),
    Block("edit_schedule", "a request of 1 MB", edit_schedule, lambda bed: schedule(bed, None)),
    Block("run_schedule", "a request of 1 MB", run_schedule, lambda bed: schedule(bed, None)),
    Block("unschedule", "a request of 1 MB", unschedule, lambda bed: schedule(bed, None)),
)
