"""What people do: dead letters, delayed requests, drops, pauses, another number of threads, repairs."""

from typing import Any

from bench.growth.block import AT_ONCE, SHARD, Bed, Block, entries, parts
from sharded_queue.backends.redis.check import repair
from sharded_queue.backends.redis.storage import DROP_REACH, DROPPED_AT_ONCE
from sharded_queue.state import Exhausted
from sharded_queue.storage import (
    MOST_PRIORITIES,
    STEP_BYTES,
    STEP_NUMBERS,
    STEP_THREADS,
    Cause,
    Entry,
    Failure,
    Part,
    Registration,
    Waiting,
    digest_of,
)
from sharded_queue.tube import THREADS_BOUND, Layout, Tube

PUT_OFF, LETTERS, DROPPED, THREADS = STEP_NUMBERS, STEP_NUMBERS, DROPPED_AT_ONCE, 1_000
SIZE = STEP_BYTES // STEP_NUMBERS - 100
"""Bytes of each of so many requests or letters, so that all together are as many as a step may have."""
OF_BYTES = f"{STEP_BYTES:,} bytes"
SKIPPING = 5_000
WHY = Cause("ann", "why")


def put_off_of(size: int) -> Any:
    async def before(bed: Bed) -> list[int]:
        firsts = [
            await bed.storage.register(SHARD, Registration(part, delay_seconds=3600))
            for part in parts(entries(PUT_OFF, size=size), AT_ONCE)
        ]
        return [number for registered in firsts for number in registered.firsts]

    return before


put_off = put_off_of(50)


def letters_of(size: int) -> Any:
    async def before(bed: Bed) -> list[int]:
        return await bury(bed, size)

    return before


async def bury(bed: Bed, size: int) -> list[int]:
    await bed.fill(entries(LETTERS, size=size))
    for batch in await bed.bind(LETTERS):
        await bed.storage.fail(Failure(batch.lease, 0, batch.first, 1, "why", None))
        await bed.coordinator.release([batch.lease])
    return list(range(1, LETTERS + 1))


letters = letters_of(50)


async def one_deep_thread(bed: Bed) -> None:
    await bed.fill(entries(1, DROPPED))


async def middle_of_a_tube(bed: Bed, depth: int, count: int, priority: int = 0) -> list[Waiting]:
    """So many requests before the middle of a tube of t0, which has no other of its priority."""
    for _ in range(depth // AT_ONCE):
        await bed.fill([Entry("t0", priority, [b"x" * 50] * AT_ONCE)])
    place = depth // 2 - count
    messages: Any = await bed.redis.lrange(f"{bed.base}/t0/{priority}", place, place + count - 1)
    ((head, _),) = await bed.storage.peek(Tube(SHARD, "t0", priority), 1)
    return [Waiting(priority, head + place + n, digest_of(message)) for n, message in enumerate(messages)]


async def deep_requests(bed: Bed) -> list[Waiting]:
    return await middle_of_a_tube(bed, 2 * DROP_REACH - 2 * DROPPED, DROPPED)


async def occurrences(bed: Bed) -> list[Waiting]:
    """Schedules that skip have an occurrence each behind the requests that are dropped."""
    found = await middle_of_a_tube(bed, 2 * SKIPPING, DROPPED)
    last = found[-1].sequence
    for part in parts(range(SKIPPING), AT_ONCE):
        waiting: dict[Any, Any] = {f"s{number}": f"{last + number % (SKIPPING // 2)} 0 t0" for number in part}
        await bed.redis.hset(f"{bed.base}:skipping", mapping=waiting)
    return found


async def many_tubes(bed: Bed) -> list[Waiting]:
    each = DROPPED // MOST_PRIORITIES
    found = [await middle_of_a_tube(bed, AT_ONCE, each, priority) for priority in range(MOST_PRIORITIES)]
    return [request for requests in found for request in requests]


async def drop_named(bed: Bed, requests: list[Waiting]) -> None:
    dropped = await bed.storage.drop(SHARD, "t0", WHY, requests)
    if len(dropped.letters) != len(requests):
        raise RuntimeError(f"{len(dropped.letters)} of {len(requests)} requests were dropped")


async def old_threads(bed: Bed) -> None:
    threads = [Entry(f"1:{number}", 0, [b"x"]) for number in range(THREADS_BOUND)]
    await bed.fill(threads, layout=Layout(1, THREADS_BOUND))


async def some_threads(bed: Bed) -> None:
    await bed.fill(entries(THREADS))


async def run_delayed(bed: Bed, numbers: list[int]) -> None:
    await bed.storage.run_delayed(SHARD, numbers)


async def move_delayed(bed: Bed, numbers: list[int]) -> None:
    time_s, _ = await bed.redis.time()
    await bed.storage.move_delayed(SHARD, numbers, (time_s + 7200) * 1000)


async def delayed(bed: Bed, numbers: list[int]) -> None:
    await bed.storage.delayed(SHARD, len(numbers))


async def cancel(bed: Bed, numbers: list[int]) -> None:
    await bed.storage.cancel(SHARD, numbers)


async def replay(bed: Bed, numbers: list[int]) -> None:
    await bed.storage.settle_dead(SHARD, numbers, "tail")


async def replay_to_the_head(bed: Bed, numbers: list[int]) -> None:
    await bed.storage.settle_dead(SHARD, numbers, "head", Part(is_last=False))


async def drop_letters(bed: Bed, numbers: list[int]) -> None:
    await bed.storage.settle_dead(SHARD, numbers, "drop")


async def find_letters(bed: Bed, numbers: list[int]) -> None:
    await bed.storage.letter_threads(SHARD, numbers)


async def read_letters(bed: Bed, numbers: list[int]) -> None:
    await bed.storage.read_letters(SHARD, numbers)


async def drop(bed: Bed, _: Any) -> None:
    await bed.storage.drop(SHARD, "t0", WHY)


async def pause(bed: Bed, _: Any) -> None:
    await bed.storage.pause(SHARD, "t0", True)


async def stopped(bed: Bed) -> list[Exhausted]:
    """Threads that stand still, each with as many priorities as it may have."""
    await bed.fill(entries(STEP_THREADS, priorities=MOST_PRIORITIES))
    for batch in await bed.bind(STEP_THREADS):
        failure = Failure(batch.lease, batch.tube.priority, batch.first, 1, "why " * 100, stops=True)
        await bed.storage.fail(failure)
    return (await bed.storage.exhausted(SHARD))[0]


async def list_stopped(bed: Bed, _: Any) -> None:
    await bed.storage.exhausted(SHARD)


async def try_anew(bed: Bed, threads: list[Exhausted]) -> None:
    await bed.storage.try_anew(SHARD, threads)


async def reshard(bed: Bed, _: Any) -> None:
    await bed.storage.reshard(SHARD, THREADS_BOUND // 2)


async def mend(bed: Bed, _: Any) -> None:
    await repair(bed.storage, SHARD)


async def drop_from_pipe(bed: Bed, _: Any) -> None:
    keys, arguments = ["{p}pipe", "{p}progress"], ["pipe", 0, 1_000, "x", "x"]
    await bed.redis.rpush("{p}pipe", *["x"] * 1_000)
    await bed.storage.scripts.run("drop_from_pipe", keys, arguments, seconds=5)


BLOCKS = (
    Block("run_delayed", f"{PUT_OFF:,} requests of as many threads", run_delayed, put_off),
    Block("run_delayed", f"{PUT_OFF:,} requests of {OF_BYTES}", run_delayed, put_off_of(SIZE)),
    Block("move_delayed", f"{PUT_OFF:,} requests", move_delayed, put_off),
    Block("move_delayed", f"{PUT_OFF:,} requests of {OF_BYTES}", move_delayed, put_off_of(SIZE)),
    Block("delayed", f"{PUT_OFF:,} requests of {OF_BYTES}", delayed, put_off_of(SIZE)),
    Block("cancel", f"{PUT_OFF:,} requests", cancel, put_off),
    Block("settle_dead", f"{LETTERS:,} letters of as many threads to the tail", replay, letters),
    Block("settle_dead", f"{LETTERS:,} letters of as many threads to the head", replay_to_the_head, letters),
    Block("settle_dead", f"{LETTERS:,} letters of {OF_BYTES} to the tail", replay, letters_of(SIZE)),
    Block("settle_dead", f"{LETTERS:,} letters away", drop_letters, letters),
    Block("letter_threads", f"{LETTERS:,} letters of {OF_BYTES}", find_letters, letters_of(SIZE)),
    Block("read_letters", f"{LETTERS:,} letters of {OF_BYTES}", read_letters, letters_of(SIZE)),
    Block("drop", f"{DROPPED:,} requests of a thread", drop, one_deep_thread),
    Block("drop", f"{DROPPED:,} named requests, {DROP_REACH:,} before and behind them", drop_named, deep_requests),
    Block("drop", f"{DROPPED:,} named requests of {MOST_PRIORITIES} priorities", drop_named, many_tubes),
    Block("drop", f"{DROPPED:,} named requests before occurrences of {SKIPPING:,} schedules", drop_named, occurrences),
    Block("pause", "a thread", pause, some_threads),
    Block("exhausted", f"{STEP_THREADS} threads", list_stopped, stopped),
    Block("try_anew", f"{STEP_THREADS} threads of {MOST_PRIORITIES} priorities", try_anew, stopped),
    Block("reshard", f"{THREADS_BOUND:,} threads", reshard, old_threads),
    Block("repair", f"{THREADS:,} threads", mend, some_threads),
    Block("drop_from_pipe", "1,000 requests", drop_from_pipe),
)
