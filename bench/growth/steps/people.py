"""What people do: dead letters, delayed requests, drops, pauses, another number of threads, repairs."""

from typing import Any

from bench.growth.block import AT_ONCE, SHARD, Bed, Block, entries, parts
from sharded_queue.backends.redis.check import repair
from sharded_queue.storage import STEP_NUMBERS, Entry, Failure, Part, Registration, Removal
from sharded_queue.tube import Layout

PUT_OFF, LETTERS, DROPPED, THREADS = STEP_NUMBERS, STEP_NUMBERS, 1_000, 1_000
WHY = Removal("ann", "why")


async def put_off(bed: Bed) -> list[int]:
    firsts = [
        await bed.storage.register(SHARD, Registration(part, delay_seconds=3600))
        for part in parts(entries(PUT_OFF), AT_ONCE)
    ]
    return [number for registered in firsts for number in registered.firsts]


async def letters(bed: Bed) -> list[int]:
    await bed.fill(entries(LETTERS))
    for batch in await bed.bind(LETTERS):
        await bed.storage.fail(Failure(batch.lease, 0, batch.first, 1, "why", None))
        await bed.coordinator.release([batch.lease])
    return list(range(1, LETTERS + 1))


async def one_deep_thread(bed: Bed) -> None:
    await bed.fill(entries(1, DROPPED))


async def old_threads(bed: Bed) -> None:
    threads = [Entry(f"1:{number}", 0, [b"x"]) for number in range(THREADS)]
    await bed.fill(threads, layout=Layout(1, THREADS))


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


async def reshard(bed: Bed, _: Any) -> None:
    await bed.storage.reshard(SHARD, THREADS // 2)


async def mend(bed: Bed, _: Any) -> None:
    await repair(bed.storage, SHARD)


async def drop_from_pipe(bed: Bed, _: Any) -> None:
    keys, arguments = ["{p}pipe", "{p}progress"], ["pipe", 0, 1_000, "x", "x"]
    await bed.redis.rpush("{p}pipe", *["x"] * 1_000)
    await bed.storage.scripts.run("drop_from_pipe", keys, arguments, seconds=5)


BLOCKS = (
    Block("run_delayed", f"{PUT_OFF:,} requests of as many threads", run_delayed, put_off),
    Block("move_delayed", f"{PUT_OFF:,} requests", move_delayed, put_off),
    Block("delayed", f"{PUT_OFF:,} requests", delayed, put_off),
    Block("cancel", f"{PUT_OFF:,} requests", cancel, put_off),
    Block("settle_dead", f"{LETTERS:,} letters of as many threads to the tail", replay, letters),
    Block("settle_dead", f"{LETTERS:,} letters of as many threads to the head", replay_to_the_head, letters),
    Block("settle_dead", f"{LETTERS:,} letters away", drop_letters, letters),
    Block("letter_threads", f"{LETTERS:,} letters", find_letters, letters),
    Block("read_letters", f"{LETTERS:,} letters", read_letters, letters),
    Block("drop", f"{DROPPED:,} requests of a thread", drop, one_deep_thread),
    Block("pause", "a thread", pause, some_threads),
    Block("reshard", f"{THREADS:,} threads", reshard, old_threads),
    Block("repair", f"{THREADS:,} threads", mend, some_threads),
    Block("drop_from_pipe", "1,000 requests", drop_from_pipe),
)
