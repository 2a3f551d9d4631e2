"""What people, metrics and the operator ask."""

from typing import Any

from bench.growth.block import SHARD, Bed, Block, entries
from sharded_queue.backends.redis.snapshot import snapshot
from sharded_queue.storage import MOST_PRIORITIES, Entry, Schedule
from sharded_queue.timing import every
from sharded_queue.tube import Tube

THREADS, PAGE, WORST = 1_000, 100, 1_000
MANY_BYTES = 8_000


async def some_threads(bed: Bed) -> None:
    await bed.fill(entries(THREADS))


async def threads_held(bed: Bed) -> None:
    await some_threads(bed)
    await bed.hold(THREADS)


async def many_priorities(bed: Bed) -> None:
    """The oldest tube of each thread stands in the middle of its record, and all threads are held."""
    middle = MOST_PRIORITIES // 2
    await bed.fill([Entry(f"t{thread}", middle, [b"x"]) for thread in range(WORST)])
    others = [priority for priority in range(MOST_PRIORITIES) if priority != middle]
    await bed.fill([Entry(f"t{thread}", priority, [b"x"]) for thread in range(WORST) for priority in others])
    await bed.hold(WORST)


async def deep_tube(bed: Bed) -> None:
    await bed.fill(entries(1, 500, MANY_BYTES))
    await bed.fill(entries(1, 500, MANY_BYTES))


async def schedules_kept(bed: Bed) -> None:
    for number in range(PAGE):
        await bed.storage.schedule(SHARD, Schedule(f"s{number}", every(60), f"t{number}", 0, b"again"))


async def observe(bed: Bed, _: Any) -> None:
    await bed.storage.observe([SHARD])


async def observe_oldest(bed: Bed, _: Any) -> None:
    await bed.storage.observe([SHARD], WORST)


async def explain(bed: Bed, _: Any) -> None:
    await bed.storage.explain(SHARD, "t0")


async def peek(bed: Bed, _: Any) -> None:
    await bed.storage.peek(Tube(SHARD, "t0", 0), 10_000)


async def progress(bed: Bed, _: Any) -> None:
    await bed.storage.progress(SHARD, [f"t{number}" for number in range(THREADS)])


async def workers_told(bed: Bed) -> None:
    time_s, _ = await bed.redis.time()
    told = {f"w{number}/1 1.0.0 10 {time_s}000": time_s * 1000 for number in range(THREADS)}
    await bed.redis.zadd(f"{bed.storage.keys.lock(SHARD)}:workers", told)


async def workers(bed: Bed, _: Any) -> None:
    await bed.storage.workers(SHARD)


async def schedules(bed: Bed, _: Any) -> None:
    await bed.storage.schedules(SHARD)


async def look(bed: Bed, _: Any) -> None:
    await snapshot(bed.storage, SHARD)


async def kinds(bed: Bed, _: Any) -> None:
    await bed.storage.scripts.wrong_kinds(bed.storage.keys.of(SHARD))


async def read_pipe(bed: Bed, _: Any) -> None:
    await bed.storage.scripts.run("read_pipe", ["{p}pipe", "{p}progress"], ["pipe", 1_000], seconds=5)


BLOCKS = (
    Block("observe", f"{THREADS:,} threads, all held", observe, threads_held),
    Block(
        "observe",
        f"{WORST:,} oldest tubes, each of a held thread of {MOST_PRIORITIES} priorities",
        observe_oldest,
        many_priorities,
    ),
    Block("explain", f"a thread of {MOST_PRIORITIES} priorities", explain, many_priorities),
    Block("peek", "1,000 requests of 8 MB together", peek, deep_tube),
    Block("progress", f"{THREADS:,} threads", progress, threads_held),
    Block("workers", f"{THREADS:,} workers", workers, workers_told),
    Block("schedules", f"{PAGE} schedules", schedules, schedules_kept),
    Block("snapshot", f"{THREADS:,} threads", look, some_threads),
    Block("kinds", "any queue", kinds),
    Block("read_pipe", "no request", read_pipe),
)
