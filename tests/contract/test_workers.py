"""Workers tell of themselves with what they send anyway, and those that are gone are forgotten."""

import time

import pytest

from sharded_queue import Handler, Queue, Worker, settings
from sharded_queue.coordinator import BindRequest
from sharded_queue.release import release
from sharded_queue.state import About, WorkerState
from sharded_queue.tube import Shard
from sharded_queue.worker.introduction import Introduction
from tests.contract.backend import LEASE_SECONDS, SHARD, Backend, RedisBackend, assert_went_by

ABOUT = About("1.0.0", 8, 1_700_000_000_000, 5)


async def poll(backend: Backend, owner: str, about: About | None = ABOUT) -> None:
    await backend.coordinator.bind(SHARD, BindRequest(owner, 1, 1, LEASE_SECONDS, about=about))


async def listed(backend: Backend) -> list[str]:
    return [each.owner for each in await backend.storage.workers(SHARD)]


async def test_a_worker_that_polls_is_listed_with_what_it_tells(backend: Backend) -> None:
    await poll(backend, "pod-1/x")
    (told,) = await backend.storage.workers(SHARD)

    assert (told.worker, *told[:4], told.retry_limit) == ("pod-1", "pod-1/x", *ABOUT)
    assert 0 <= told.told_seconds < 30


async def test_a_worker_that_tells_nothing_is_not_listed(backend: Backend) -> None:
    await poll(backend, "pod-1/x", None)

    assert await listed(backend) == []


async def test_the_worker_that_told_last_comes_first(backend: Backend) -> None:
    await poll(backend, "a/x")
    await backend.advance(10)
    await poll(backend, "b/x")
    await backend.advance(10)
    await poll(backend, "a/x", ABOUT._replace(concurrency=9))
    first, second = await backend.storage.workers(SHARD)

    assert (first.owner, first.concurrency, second.owner) == ("a/x", 9, "b/x")
    assert [each.owner for each in await backend.storage.workers(SHARD, 1)] == ["a/x"]


async def test_the_threads_that_workers_can_hold_are_observed_while_they_tell(backend: Backend) -> None:
    for owner, concurrency in (("a/x", 10), ("b/x", 2), ("c/x", 10)):
        await poll(backend, owner, ABOUT._replace(concurrency=concurrency))
    (state,) = await backend.storage.observe([SHARD])
    assert state.concurrencies == [2, 10]

    await backend.advance(20)
    await poll(backend, "c/x", ABOUT._replace(concurrency=3))
    await backend.advance(11)
    (state,) = await backend.storage.observe([SHARD])
    assert state.concurrencies == [3]


async def test_the_last_word_of_a_worker_is_observed_and_explained_until_it_stops(backend: Backend) -> None:
    """Beside the last poll, which tells nothing of a worker that has stopped since."""
    none_yet = await backend.observe()
    began = time.monotonic()
    await poll(backend, "pod-1/x")
    await backend.register("a", "1")
    await backend.advance(7)
    there, explained = await backend.observe(), await backend.storage.explain(SHARD, "a")
    await backend.coordinator.leave("pod-1/x", {SHARD: ABOUT})
    gone, after = await backend.observe(), await backend.storage.explain(SHARD, "a")

    (word,) = explained.workers
    assert (none_yet.told_seconds, gone.told_seconds) == (None, None)
    assert (word.owner, word.retry_limit) == ("pod-1/x", 5)
    assert (there.is_served, gone.is_served, explained.is_served, after.is_served) == (True, False, True, False)
    for seconds in (there.told_seconds, word.told_seconds, gone.polled_seconds):
        assert seconds is not None
        assert_went_by(began, seconds - 7)
    assert after.workers == []


async def test_a_worker_that_is_gone_is_forgotten(backend: Backend) -> None:
    await poll(backend, "gone/x")
    await backend.advance(200)
    await poll(backend, "there/x")
    assert await listed(backend) == ["there/x", "gone/x"]
    await backend.advance(101)
    await poll(backend, "there/x")

    assert await listed(backend) == ["there/x"]


async def test_a_busy_worker_tells_of_itself_when_it_renews(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one("busy/x")
    await backend.coordinator.renew([batch.lease], LEASE_SECONDS, ABOUT)

    assert await listed(backend) == ["busy/x"]


async def test_a_renewal_of_lost_leases_tells_nothing(backend: Backend) -> None:
    """It may come late, when its worker is long gone."""
    await backend.register("a", "1")
    batch = await backend.bind_one("gone/x")
    await backend.release(batch.lease)
    await backend.coordinator.renew([batch.lease], LEASE_SECONDS, ABOUT)

    assert await listed(backend) == []


async def test_a_real_worker_is_listed_while_it_runs(backend: Backend) -> None:
    class Job(Handler):
        name = SHARD.handler

        async def perform(self, *requests: str) -> None:
            told.extend(await backend.storage.workers(SHARD))

    told: list[WorkerState] = []
    settings.worker_empty_limit, settings.worker_concurrency = 1, 3
    await backend.register("a", '"1"')
    worker = Worker(backend.coordinator, Queue(backend.storage), handlers=[Job], name="pod-7")
    await worker.loop(1)
    (seen,) = told

    assert (seen.owner, seen.version, seen.concurrency) == (worker.owner, release(), 3)
    assert seen.retry_limit == settings.retry_limit
    assert await listed(backend) == []


async def test_a_worker_that_runs_again_is_listed_again(backend: Backend) -> None:
    class Job(Handler):
        name = SHARD.handler

        async def perform(self, *requests: str) -> None:
            seen.append(await listed(backend))

    seen: list[list[str]] = []
    settings.worker_empty_limit = 1
    worker = Worker(backend.coordinator, Queue(backend.storage), handlers=[Job], name="pod-7")
    for request in ("1", "2"):
        await backend.register("a", f'"{request}"')
        await worker.loop(1)

    assert seen == [[worker.owner]] * 2


async def test_a_worker_that_leaves_takes_no_other_off_the_list(backend: Backend) -> None:
    for owner in ("pod-1/x", "pod-1/y"):
        await poll(backend, owner)
    for _ in range(2):
        await backend.coordinator.leave("pod-1/x", {SHARD: ABOUT, Shard("tests.Other"): ABOUT})

    assert await listed(backend) == ["pod-1/y"]


@pytest.mark.redis
async def test_a_worker_with_many_handlers_leaves_on_few_connections(on_redis: RedisBackend) -> None:
    told = {Shard(f"tests.Many{number}"): ABOUT for number in range(50)}
    before = (await on_redis.redis.info("stats"))["total_connections_received"]
    for shard, about in told.items():
        await on_redis.coordinator.bind(shard, BindRequest("pod-1/x", 1, 1, LEASE_SECONDS, about=about))
    await on_redis.coordinator.leave("pod-1/x", told)

    assert [await on_redis.storage.workers(shard) for shard in told] == [[]] * 50
    assert (await on_redis.redis.info("stats"))["total_connections_received"] - before <= 5


async def test_a_list_of_workers_that_cannot_be_written_stops_no_worker(on_redis: RedisBackend) -> None:
    await on_redis.redis.set(f"{on_redis.redis_storage.keys.lock(SHARD)}:workers", "no list")

    await on_redis.coordinator.leave("pod-1/x", {SHARD: ABOUT})


def test_a_shard_is_told_every_ten_seconds() -> None:
    now = 1000.0
    introduction, other = Introduction(lambda _: 3, lambda: now), Shard("tests.Other")
    assert introduction.due(SHARD)
    assert introduction.due(other)
    now += 9.9
    assert introduction.due(SHARD) is None
    now += 0.2

    assert introduction.due(SHARD)


@pytest.mark.redis
async def test_a_worker_that_cannot_be_read_hides_no_other(on_redis: RedisBackend) -> None:
    await poll(on_redis, "pod-1/x")
    key = f"{on_redis.redis_storage.keys.lock(SHARD)}:workers"
    await on_redis.redis.zadd(key, {b"\xff": 1e13, "pod-2/x 1.0": 1, "": 2})

    assert await listed(on_redis) == ["pod-1/x"]


@pytest.mark.redis
async def test_all_workers_are_forgotten_where_none_polls(on_redis: RedisBackend) -> None:
    await poll(on_redis, "pod-1/x")

    assert 0 < await on_redis.redis.pttl(f"{on_redis.redis_storage.keys.lock(SHARD)}:workers") <= 300_000
