"""What a handler reports of its batch goes with the renewals of its lease, and ends with the batch."""

import asyncio
from typing import Any

import pytest

from sharded_queue import Handler, Queue, ShardedQueueError, Worker, current, settings
from sharded_queue.context import Context
from sharded_queue.state import Progress, Report
from sharded_queue.storage import Batch
from tests.contract.backend import LEASE_SECONDS, SHARD, Backend, RedisBackend


async def report(backend: Backend, batch: Batch, report: Report) -> Any:
    return await backend.coordinator.renew([batch.lease], LEASE_SECONDS, reports={batch.lease: report})


async def shown(backend: Backend, thread: str = "a") -> Progress | None:
    return (await backend.storage.explain(SHARD, thread)).progress


async def test_a_report_is_shown_while_its_batch_is_in_hand(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one(wanted=1)
    assert await shown(backend) is None
    await report(backend, batch, Report(batch.first, 7, 10, "rows of table x y"))
    progress = await shown(backend)

    assert progress
    assert progress[:3] == (7, 10, "rows of table x y")
    assert 0 <= progress.reported_seconds < 30
    reports = await backend.storage.progress(SHARD, ["b", "a"])
    assert {thread: each[:3] for thread, each in reports.items()} == {"a": progress[:3]}


async def test_a_report_ends_with_its_batch(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one(wanted=1)
    await report(backend, batch, Report(batch.first, 7))
    await backend.settle(batch, wanted=1)

    assert await shown(backend) is None
    assert await backend.storage.progress(SHARD, ["a"]) == {}


async def test_a_report_of_a_lost_lease_changes_nothing(backend: Backend) -> None:
    """Nor does a late one of the batch before."""
    await backend.register("a", "1", "2")
    stale = await backend.bind_one("w/1", wanted=1)
    await backend.release(stale.lease)
    batch = await backend.bind_one("w/2", wanted=1)
    await report(backend, batch, Report(batch.first, 3))
    await report(backend, stale, Report(stale.first, 9))
    progress = await shown(backend)
    assert progress
    assert progress.done == 3

    await backend.settle(batch, wanted=1)
    await report(backend, batch, Report(batch.first, 9))
    assert await shown(backend) is None


async def test_a_report_never_goes_back_within_its_batch(backend: Backend) -> None:
    """So a renewal that comes late, behind newer ones, changes nothing."""
    await backend.register("a", "1", "2")
    batch = await backend.bind_one(wanted=1)
    await report(backend, batch, Report(batch.first, 9, 10, "newer"))
    await report(backend, batch, Report(batch.first, 8, 10, "late"))
    progress = await shown(backend)
    assert progress
    assert progress[:3] == (9, 10, "newer")

    settled = await backend.settle(batch, wanted=1)
    assert settled.batch
    await report(backend, settled.batch, Report(settled.batch.first, 1))
    progress = await shown(backend)
    assert progress
    assert progress.done == 1


@pytest.mark.redis
async def test_a_report_expires_with_the_worker_that_sent_it(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    batch = await on_redis.bind_one()
    await report(on_redis, batch, Report(batch.first, 7))
    left = await on_redis.redis.pttl(f"{on_redis.redis_storage.keys.lock(SHARD)}:progress:a")

    assert LEASE_SECONDS * 1000 < left <= 2 * LEASE_SECONDS * 1000


@pytest.mark.redis
@pytest.mark.parametrize("garbage", [b"?", b"", b"1 2 3 4 5 6", b"\xff\x00"])
async def test_a_report_that_cannot_be_read_is_none(on_redis: RedisBackend, garbage: bytes) -> None:
    await on_redis.register("a", "1")
    await on_redis.bind_one()
    key = f"{on_redis.redis_storage.keys.lock(SHARD)}:progress:a"
    await on_redis.redis.set(key, garbage)
    assert await shown(on_redis) is None
    await on_redis.redis.delete(key)
    await on_redis.redis.rpush(key, garbage)

    assert await shown(on_redis) is None


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "in_an_os_thread"])
async def test_a_handler_reports_its_progress(
    backend: Backend, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried, seen, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()
    renew = type(backend.coordinator).renew

    async def renew_noted(self: Any, leases: Any, lease_seconds: float, about: Any, reports: Any, done: Any) -> Any:
        lost = await renew(self, leases, lease_seconds, about, reports, done)
        if reports:
            loop.call_soon_threadsafe(carried.set)
        return lost

    class Job(Handler):
        name = SHARD.handler

        async def perform(self, *requests: str) -> None:
            if is_async:
                current().progress(2, 3, "half\nway")
            else:
                await asyncio.to_thread(lambda: current().progress(2, 3, "half\nway"))
            await seen.wait()

    monkeypatch.setattr(type(backend.coordinator), "renew", renew_noted)
    monkeypatch.setattr("sharded_queue.worker.lease_renewer.RENEWALS_PER_LEASE", 150)  # every 0.1 s
    settings.coordinator_lease, settings.worker_empty_limit = LEASE_SECONDS, 1
    await backend.register("a", '"1"')
    worker = Worker(backend.coordinator, Queue(backend.storage), handlers=[Job])
    working = asyncio.create_task(worker.loop(1))
    async with asyncio.timeout(20):
        await carried.wait()
    progress = await shown(backend)
    seen.set()
    await working

    assert progress
    assert progress[:3] == (2, 3, "half\\nway")


@pytest.mark.parametrize(("done", "of"), [(-1, None), (1.5, None), (1, -2), ("1", None), (10**16, None)])
def test_a_progress_that_is_no_number_is_refused(done: Any, of: Any) -> None:
    context = Context(None, None, 1, range(1), [])  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="a whole number from 0 to"):
        context.progress(done, of)


def test_progress_needs_a_batch() -> None:
    with pytest.raises(ShardedQueueError, match="inside perform or handle"):
        current().progress(1)
