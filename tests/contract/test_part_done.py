"""A renewal removes what the holder of a thread has reported done of its batch, and changes nothing when it is late."""

import pytest

from sharded_queue.coordinator import PartDone
from sharded_queue.state import Report
from sharded_queue.storage import Batch, Failure
from tests.contract.backend import LEASE_SECONDS, SHARD, Backend, handed


async def report(backend: Backend, batch: Batch, count: int, progress: Report | None = None) -> None:
    part = PartDone(batch.tube.priority, batch.first, batch.first + count - 1)
    reports = {batch.lease: progress} if progress else {}
    lost = await backend.coordinator.renew([batch.lease], LEASE_SECONDS, None, reports, {batch.lease: part})
    assert lost == []


async def in_hand(backend: Backend, *bodies: str) -> Batch:
    await backend.register("a", *bodies)
    return await backend.bind_one()


async def test_what_is_done_leaves_its_tube(backend: Backend) -> None:
    batch = await in_hand(backend, "1", "2", "3", "4")
    await report(backend, batch, 2)
    assert await backend.waiting("a") == ["3", "4"]
    state = await backend.observe()
    assert (state.depth, state.settled, [hold.in_hand for hold in state.held]) == (2, 2, [2])
    await report(backend, batch, 3)
    assert await backend.waiting("a") == ["4"]


async def test_the_last_request_stays_until_its_batch_ends(backend: Backend) -> None:
    batch = await in_hand(backend, "1", "2")
    await report(backend, batch, 2)
    assert await backend.waiting("a") == ["2"]
    settled = await backend.settle(batch, wanted=1, release=True)
    assert not settled.is_lost
    state = await backend.observe()
    assert (state.depth, state.settled, state.threads) == (0, 2, 0)


async def test_the_batch_goes_on_where_a_crash_ended_it(backend: Backend) -> None:
    batch = await in_hand(backend, "1", "2", "3", "4")
    await report(backend, batch, 2)
    await backend.advance(LEASE_SECONDS + 1)
    following = await backend.bind_one("w/2", wanted=10)
    assert handed(following) == ["3"]
    assert following.attempt == 2
    await backend.settle(following, wanted=10)
    assert await backend.waiting("a") == ["4"]


async def test_a_failure_behind_what_is_done_is_that_of_its_request(backend: Backend) -> None:
    batch = await in_hand(backend, "1", "2", "3")
    await report(backend, batch, 1)
    failed = Failure(batch.lease, 0, batch.first + 1, 1, "E", 0)
    assert not (await backend.settle(batch, batch.first)).is_lost
    assert await backend.storage.fail(failed)
    assert await backend.waiting("a") == ["2", "3"]


async def test_a_settlement_of_the_whole_batch_counts_each_request_once(backend: Backend) -> None:
    batch = await in_hand(backend, "1", "2", "3")
    await report(backend, batch, 1)
    await backend.settle(batch)
    assert (await backend.observe()).settled == 3


async def test_a_late_report_changes_nothing(backend: Backend) -> None:
    batch = await in_hand(backend, "1", "2", "3", "4", "5")
    await report(backend, batch, 3)
    await report(backend, batch, 1)
    assert await backend.waiting("a") == ["4", "5"]
    await backend.register("a", "6", "7")
    following = await backend.settle(batch, wanted=10)
    await report(backend, batch, 5)
    assert await backend.waiting("a") == ["6", "7"]
    assert handed(following.batch) == ["6", "7"]


async def test_a_late_report_is_no_progress_of_the_next_batch(backend: Backend) -> None:
    batch = await in_hand(backend, "1", "2", "3")
    await backend.register("a", "4", "5")
    await backend.settle(batch, wanted=10)
    await report(backend, batch, 2, Report(batch.first, 2, 3))
    assert await backend.storage.progress(SHARD, ["a"]) == {}


async def test_a_report_of_another_priority_changes_nothing(backend: Backend) -> None:
    batch = await in_hand(backend, "1", "2", "3")
    part = PartDone(7, batch.first, batch.first + 1)
    await backend.coordinator.renew([batch.lease], LEASE_SECONDS, None, {}, {batch.lease: part})
    assert await backend.waiting("a") == ["1", "2", "3"]


async def test_a_report_of_a_worker_that_lost_its_thread_changes_nothing(backend: Backend) -> None:
    batch = await in_hand(backend, "1", "2", "3")
    await backend.advance(LEASE_SECONDS + 1)
    await backend.bind_one("w/2")
    part = PartDone(0, batch.first, batch.first + 1)
    assert await backend.coordinator.renew([batch.lease], LEASE_SECONDS, None, {}, {batch.lease: part}) == [batch.lease]
    assert await backend.waiting("a") == ["1", "2", "3"]


@pytest.mark.parametrize("done", [1, 3])
async def test_progress_is_shown_beside_what_is_done(backend: Backend, done: int) -> None:
    batch = await in_hand(backend, "1", "2", "3", "4")
    await report(backend, batch, done, Report(batch.first, 10 * done, 40, "rows"))
    shown = (await backend.storage.progress(SHARD, ["a"]))["a"]
    assert (shown.done, shown.of, shown.note) == (10 * done, 40, "rows")
    await report(backend, batch, 1, Report(batch.first, 1, 40, "late"))
    assert (await backend.storage.progress(SHARD, ["a"]))["a"].done == 10 * done
