"""What workers ask and report."""

from typing import Any

from bench.growth.block import AT_ONCE, LEASE_SECONDS, SHARD, Bed, Block, entries
from sharded_queue.coordinator import BindRequest
from sharded_queue.lease import Lease
from sharded_queue.state import Report
from sharded_queue.storage import Batch, Failure, Settlement

THREADS, BATCH = 500, 128
WORKERS = 100


async def threads_waiting(bed: Bed) -> None:
    await bed.fill(entries(THREADS, 3))


async def threads_held(bed: Bed) -> list[Batch]:
    await threads_waiting(bed)
    return await bed.bind(THREADS)


async def one_held(bed: Bed) -> Batch:
    await bed.fill(entries(1, 2))
    return (await bed.bind(1))[0]


async def bind(bed: Bed, _: Any) -> None:
    await bed.coordinator.bind(SHARD, BindRequest("w/1", THREADS, BATCH, LEASE_SECONDS))


async def settle(bed: Bed, batches: list[Batch]) -> None:
    await bed.storage.settle([Settlement(batch.lease, 0, batch.last, 0.1, BATCH, call=1) for batch in batches])


async def fail(bed: Bed, batch: Batch) -> None:
    failure = Failure(batch.lease, 0, batch.first, 1, "x" * 500, None, call=1, traceback="x" * 4_000)
    await bed.storage.fail(failure)


async def renew(bed: Bed, batches: list[Batch]) -> None:
    reports: dict[Lease, Report] = {batch.lease: Report(batch.first, 0, 1, "x" * 200) for batch in batches}
    await bed.coordinator.renew([batch.lease for batch in batches], LEASE_SECONDS, None, reports)


async def release(bed: Bed, batches: list[Batch]) -> None:
    await bed.coordinator.release([batch.lease for batch in batches])


async def evict(bed: Bed, _: Any) -> None:
    await bed.coordinator.evict(SHARD, ["w"])


async def cordon(bed: Bed, _: Any) -> None:
    await bed.coordinator.cordon(SHARD, [f"w{number}" for number in range(WORKERS)], 60)


async def outlook(bed: Bed, _: Any) -> None:
    await bed.coordinator.look([SHARD] * AT_ONCE, 5)


BLOCKS = (
    Block("bind", f"{THREADS:,} threads at once", bind, threads_waiting),
    Block("settle", f"{THREADS:,} threads at once", settle, threads_held),
    Block("fail", "a dead letter with a traceback of 4,000 characters", fail, one_held),
    Block("renew", f"{THREADS:,} threads at once, each with a report", renew, threads_held),
    Block("release", f"{THREADS:,} threads at once", release, threads_held),
    Block("evict", f"a worker with {THREADS:,} threads", evict, threads_held),
    Block("cordon", f"{WORKERS:,} workers", cordon),
    Block("outlook", f"{AT_ONCE:,} shards", outlook),
)
