"""What workers ask and report."""

from typing import Any

from bench.growth.block import LEASE_SECONDS, PATIENCE_SECONDS, SHARD, Bed, Block, entries
from sharded_queue import settings
from sharded_queue.backends.redis.coordinator import LEASES_AT_ONCE, SHARDS_AT_ONCE
from sharded_queue.coordinator import BindRequest, PartDone
from sharded_queue.lease import Lease
from sharded_queue.state import Report
from sharded_queue.storage import MOST_PRIORITIES, Batch, Entry, Failure, Registration, Settlement
from sharded_queue.worker.binder import BOUND_AT_ONCE
from sharded_queue.worker.settlement_batcher import SETTLED_AT_ONCE
from sharded_queue.worker.slots import MOST_AHEAD

THREADS, BATCH = BOUND_AT_ONCE, 128
LEASES = SETTLED_AT_ONCE
SWEEP = 30
"""Threads of each kind that a bind frees, as `_prelude.lua` has it."""
WORKERS = 1_000
DUE_BYTES = 4_194_304
"""Of the due requests that a bind moves, as `_prelude.lua` has it; a single one may have LARGEST."""
LARGEST = 4_194_304
AGEING_SECONDS = 60.0
LONG_AGO_MS = 1_600_000_000_000


def waiting(priorities: int, threads: int = THREADS) -> Any:
    async def before(bed: Bed) -> None:
        await bed.fill(entries(threads, 2, priorities=priorities))

    return before


def held(priorities: int) -> Any:
    async def before(bed: Bed) -> list[Batch]:
        await bed.fill(entries(LEASES, 2, priorities=priorities))
        return await bed.bind(LEASES)

    return before


def all_become_free(priorities: int) -> Any:
    """Leases and back-offs that have ended, and delayed requests that are due, beside threads that wait."""

    async def before(bed: Bed) -> None:
        given = entries(2 * SWEEP, priorities=priorities)
        await bed.fill(given)
        for batch in (await bed.bind(2 * SWEEP))[:SWEEP]:
            await bed.storage.fail(Failure(batch.lease, batch.tube.priority, batch.first, 1, "why", 3600.0))
        for index in (f"{bed.base}:blocked", f"{bed.storage.keys.lock(SHARD)}:leases"):
            threads: Any = await bed.redis.zrange(index, 0, -1)
            await bed.redis.zadd(index, dict.fromkeys(threads, LONG_AGO_MS))
        late = [Entry(f"t{number}", 1_000, [b"late"]) for number in range(SWEEP)]
        await bed.storage.register(SHARD, Registration(late, delay_seconds=0.001))
        await bed.fill(entries(THREADS, priorities=priorities, first=2 * SWEEP))

    return before


def due(number: int, size: int) -> Any:
    """Delayed requests that are due, beside a full batch."""

    async def before(bed: Bed) -> None:
        for part in range(number):
            delayed = [Entry(f"d{part}", 0, [b"x" * size])]
            await bed.storage.register(SHARD, Registration(delayed, delay_seconds=0.001))
        await bed.fill(entries(THREADS, 1, settings.worker_batch_bytes // THREADS - 13))

    return before


async def many_others_held(bed: Bed) -> None:
    """Workers hold many threads, and more are ready than a bind takes."""
    await bed.fill(entries(10_000))
    await bed.hold(10_000, owner="other/1")
    await bed.fill(entries(2 * THREADS, 2, priorities=MOST_PRIORITIES, first=10_000))


async def one_held(bed: Bed) -> Batch:
    await bed.fill(entries(1, 2))
    return (await bed.bind(1))[0]


async def one_request_held(bed: Bed) -> Batch:
    await bed.fill(entries(1, 1))
    return (await bed.bind(1))[0]


async def bind(bed: Bed, _: Any) -> None:
    await bed.coordinator.bind(SHARD, BindRequest("w/1", THREADS, BATCH, LEASE_SECONDS, AGEING_SECONDS))


async def bind_ahead(bed: Bed, _: Any) -> None:
    await bed.coordinator.bind(
        SHARD, BindRequest("w/1", THREADS, BATCH, LEASE_SECONDS, AGEING_SECONDS, ahead=MOST_AHEAD)
    )


def bind_with_lost_answers(*calls: int) -> Any:
    """Binds of these numbers, whose owner has heard of none."""

    async def act(bed: Bed, _: Any) -> None:
        keys = [*bed.storage.keys.of(SHARD), f"{bed.base}:lost:caller"]
        limits = [60_000, settings.crash_limit, 0, settings.worker_batch_bytes, "", 0]
        for call in calls:
            arguments = [call, 0, 0, "w/1", THREADS, BATCH, *limits]
            await bed.storage.scripts.run("bind", keys, arguments, seconds=PATIENCE_SECONDS)

    return act


async def settle(bed: Bed, batches: list[Batch]) -> None:
    await bed.storage.settle(
        [Settlement(batch.lease, batch.tube.priority, batch.last, 0.1, BATCH, call=1) for batch in batches]
    )


async def fail(bed: Bed, batch: Batch) -> None:
    failure = Failure(batch.lease, 0, batch.first, 1, "x" * 500, None, call=1, traceback="x" * 4_000)
    await bed.storage.fail(failure)


async def renew(bed: Bed, batches: list[Batch]) -> None:
    reports: dict[Lease, Report] = {batch.lease: Report(batch.first, 0, 1, "x" * 200) for batch in batches}
    done = {batch.lease: PartDone(batch.tube.priority, batch.first, batch.first) for batch in batches}
    await bed.coordinator.renew([batch.lease for batch in batches], LEASE_SECONDS, None, reports, done)


async def release(bed: Bed, batches: list[Batch]) -> None:
    await bed.coordinator.release([batch.lease for batch in batches])


async def isolate(bed: Bed, batch: Batch) -> None:
    await bed.coordinator.isolate(batch.lease, True, 1)


async def evict(bed: Bed, _: Any) -> None:
    await bed.coordinator.evict(SHARD, ["w"])


async def cordon(bed: Bed, _: Any) -> None:
    await bed.coordinator.cordon(SHARD, [f"w{number}" for number in range(WORKERS)], 60)


async def outlook(bed: Bed, _: Any) -> None:
    await bed.coordinator.look([SHARD] * SHARDS_AT_ONCE, 5)


BLOCKS = (
    Block("bind", f"{THREADS} threads of {MOST_PRIORITIES} priorities, with ageing", bind, waiting(MOST_PRIORITIES)),
    Block(
        "bind",
        f"{THREADS} threads, and {MOST_AHEAD} ahead, of {MOST_PRIORITIES} priorities, with ageing",
        bind_ahead,
        waiting(MOST_PRIORITIES, THREADS + 2 * MOST_AHEAD),
    ),
    Block(
        "bind",
        f"sent again: {THREADS} threads of {MOST_PRIORITIES} priorities, beside 10,000 held threads of others",
        bind_with_lost_answers(1, 1),
        many_others_held,
    ),
    Block(
        "bind",
        "the one after it, which takes back these threads",
        bind_with_lost_answers(1, 2),
        many_others_held,
    ),
    Block(
        "bind",
        f"{SWEEP} delayed requests of {DUE_BYTES:,} bytes together that are due, and a batch of "
        f"{settings.worker_batch_bytes:,} bytes",
        bind,
        due(SWEEP, DUE_BYTES // SWEEP - 100),
    ),
    Block(
        "bind",
        f"a delayed request of {LARGEST:,} bytes that is due, and a batch of {settings.worker_batch_bytes:,} bytes",
        bind,
        due(1, LARGEST),
    ),
    Block(
        "bind",
        f"{THREADS} threads beside {SWEEP} leases and {SWEEP} back-offs that have ended, and {SWEEP} delayed requests "
        "that are due",
        bind,
        all_become_free(1),
    ),
    Block(
        "bind",
        f"the same, each thread with {MOST_PRIORITIES} priorities",
        bind,
        all_become_free(MOST_PRIORITIES),
    ),
    Block("settle", f"{LEASES} threads, and a next batch of each", settle, held(1)),
    Block("settle", f"{LEASES} threads of {MOST_PRIORITIES} priorities", settle, held(MOST_PRIORITIES)),
    Block("fail", "a dead letter with a traceback of 4,000 characters", fail, one_held),
    Block(
        "renew", f"{LEASES} threads of {MOST_PRIORITIES} priorities, each with a report", renew, held(MOST_PRIORITIES)
    ),
    Block("release", f"{LEASES} threads of {MOST_PRIORITIES} priorities", release, held(MOST_PRIORITIES)),
    Block("isolate", "the one request of a thread", isolate, one_request_held),
    Block("evict", f"{LEASES_AT_ONCE} threads of {MOST_PRIORITIES} priorities", evict, held(MOST_PRIORITIES)),
    Block("cordon", f"{WORKERS:,} workers", cordon),
    Block("outlook", f"{SHARDS_AT_ONCE:,} shards", outlook),
)
