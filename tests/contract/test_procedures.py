"""Backups, another Redis and a lost Redis: the steps of docs/operations.md, done with real servers."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from redis.asyncio import Redis

from sharded_queue import (
    Handler,
    Queue,
    RedisCoordinator,
    RedisOptions,
    RedisStorage,
    Route,
    StorageUnavailable,
    SyncQueue,
    Worker,
    current,
    settings,
)
from sharded_queue.backends.redis.check import faults
from sharded_queue.backends.redis.snapshot import snapshot
from sharded_queue.queue.receipts import Receipts
from tests.harness.pages import printed
from tools.redis_server import RedisServer

pytestmark = pytest.mark.redis
LATER = 3600.0


class Step(NamedTuple):
    key: str
    number: int


class Done(NamedTuple):
    key: str
    number: int
    fence: int


class StepHandler(Handler[Step]):
    done: list[Done]
    news: asyncio.Condition

    @classmethod
    async def route(cls, *requests: Step) -> list[Route]:
        return [Route(request.key) for request in requests]

    async def perform(self, *requests: Step) -> None:
        async with self.news:
            self.done += [Done(*request, current().lease.fence) for request in requests]
            self.news.notify_all()


class System:
    """A Redis with its files, a producer and a worker."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.client = Redis(port=server.port)
        self.queue = Queue(RedisStorage(self.client))
        StepHandler.done, StepHandler.news = [], asyncio.Condition()

    async def register(self, key: str, *numbers: int, delay_seconds: float = 0) -> Receipts:
        steps = [Step(key, number) for number in numbers]
        return await self.queue.register(StepHandler, *steps, delay_seconds=delay_seconds)

    def worker(self) -> Worker:
        return Worker(RedisCoordinator(self.client), self.queue, handlers=[StepHandler])

    async def handle(self, count: int) -> list[str]:
        """What a worker handles that ends after *count* requests."""
        before = len(StepHandler.done)
        async with asyncio.timeout(20):
            await self.worker().loop(count)
        return [f"{done.key} {done.number}" for done in StepHandler.done[before:]]

    async def has_handled(self, key: str, number: int) -> None:
        async with asyncio.timeout(20), StepHandler.news:
            await StepHandler.news.wait_for(lambda: (key, number) in {done[:2] for done in StepHandler.done})

    async def is_sound(self) -> bool:
        """What `sharded-queue check` would say."""
        (shard,) = StepHandler.all_shards()
        return not faults(await snapshot(RedisStorage(self.client), shard))

    def redis_cli(self, *words: str) -> str:
        command = ["redis-cli", "-e", "-p", str(self.server.port), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    def back_up(self) -> Path:
        self.redis_cli("SAVE")
        return Path(shutil.copy(self._snapshot, self.server.folder / "backup.rdb"))

    def restore(self, backup: Path) -> None:
        self.server.kill()
        shutil.copy(backup, self._snapshot)
        self.server.start()

    @property
    def _snapshot(self) -> Path:
        return self.server.folder / "dump.rdb"


@pytest.fixture
async def on(own_redis: Callable[..., RedisServer]) -> AsyncIterator[Callable[..., System]]:
    """Makes a system on a Redis of its own."""
    systems: list[System] = []

    def make(**options: str) -> System:
        systems.append(System(own_redis(**options)))
        return systems[-1]

    yield make
    for system in systems:
        await system.client.aclose()


async def test_an_older_snapshot_repeats_what_was_handled_since_and_loses_what_was_registered_since(
    on: Callable[..., System],
) -> None:
    system = on()
    await system.register("ann", 1, 2, 3)
    assert await system.handle(3) == ["ann 1", "ann 2", "ann 3"]
    await system.register("ann", 4, 5, 6)

    backup = system.back_up()
    assert await system.handle(3) == ["ann 4", "ann 5", "ann 6"]
    await system.register("ann", 7, 8)
    system.restore(backup)
    await system.register("ann", 9)

    assert await system.handle(4) == ["ann 4", "ann 5", "ann 6", "ann 9"]
    assert await system.is_sound()


async def test_what_became_due_or_was_left_out_since_the_snapshot_counts_again(on: Callable[..., System]) -> None:
    system = on()
    await system.register("ann", 1, delay_seconds=0.2)
    backup = system.back_up()
    assert await system.handle(1) == ["ann 1"]
    await system.queue.register(StepHandler, Step("bob", 2), deduplicate_seconds=LATER)
    system.restore(backup)
    (again,) = await system.queue.register(StepHandler, Step("bob", 2), deduplicate_seconds=LATER)

    assert not again.is_duplicate
    assert sorted(await system.handle(2)) == ["ann 1", "bob 2"]


async def test_fences_grow_over_a_restore(on: Callable[..., System]) -> None:
    """A database that handlers guard by their fences refuses no worker afterwards."""
    system = on()
    await system.register("ann", 1)
    backup = system.back_up()
    await system.handle(1)
    system.restore(backup)
    await system.handle(1)

    first, second = StepHandler.done
    assert first[:2] == second[:2]
    assert first.fence < second.fence


async def test_a_worker_that_runs_through_a_restore_goes_on_in_order(on: Callable[..., System]) -> None:
    """It even holds its thread by a lease that is in the snapshot."""
    settings.coordinator_lease, settings.coordinator_delay, settings.worker_batch_size = 0.5, 0.1, 2
    system = on()
    await system.register("ann", *range(1, 5))
    worker = system.worker()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.loop())
        await system.has_handled("ann", 4)
        await system.register("ann", *range(5, 9))
        backup = await asyncio.to_thread(system.back_up)
        await system.has_handled("ann", 8)
        await asyncio.to_thread(system.restore, backup)
        await system.register("ann", *range(9, 13))
        await system.has_handled("ann", 12)
        worker.stop()

    numbers = [done.number for done in StepHandler.done]
    assert list(dict.fromkeys(numbers)) == list(range(1, 13))
    assert numbers[-4:] == list(range(9, 13))
    assert await system.is_sound()


async def test_a_receipt_of_the_forgotten_time_may_cancel_another_request(on: Callable[..., System]) -> None:
    """So the page says to let those receipts go."""
    system = on()
    backup = system.back_up()
    forgotten = await system.register("ann", 1, delay_seconds=LATER)
    system.restore(backup)
    await system.register("bob", 2, delay_seconds=LATER)

    assert await system.queue.cancel(*forgotten)
    assert await system.queue.delayed(StepHandler) == []


async def test_a_snapshot_is_restored_into_a_redis_with_an_append_only_file(on: Callable[..., System]) -> None:
    """Redis reads no snapshot while it has an append-only file, or should have one: so it starts without, once."""
    system = on()
    await system.register("ann", 1, 2)
    backup = system.back_up()

    restored = on(appendonly="yes")
    restored.server.kill()
    shutil.rmtree(restored.server.folder / "appendonlydir")
    restored.restore(backup)
    assert restored.redis_cli("DBSIZE") == "0"

    restored.server.kill()
    shutil.rmtree(restored.server.folder / "appendonlydir")
    restored.server._options["appendonly"] = "no"
    restored.restore(backup)
    assert restored.redis_cli("CONFIG", "SET", "appendonly", "yes") == "OK"
    async with asyncio.timeout(20):
        while "aof_rewrite_in_progress:1" in restored.redis_cli("INFO", "persistence"):  # noqa: ASYNC110 - a process
            await asyncio.sleep(0.05)
    restored.server._options["appendonly"] = "yes"
    restored.server.stop()
    restored.server.start()

    assert await restored.handle(2) == ["ann 1", "ann 2"]


async def test_requests_move_to_another_redis(on: Callable[..., System]) -> None:
    """Also with a producer that goes on until the roles change: the old server refuses it from then on."""
    settings.redis_retry = 0.5
    old = on(**{"repl-diskless-sync-delay": "0"})
    await old.register("ann", 1, 2, 3)
    await old.handle(3)
    await old.register("ann", 4, 5)
    later = await old.register("ann", 6, delay_seconds=LATER)

    new = on()
    new.redis_cli("REPLICAOF", "127.0.0.1", str(old.server.port))
    await replication_says(old, "state=online")  # the new server calls the link up a moment earlier
    await old.register("ann", 7)
    old.redis_cli("FAILOVER", "TO", "127.0.0.1", str(new.server.port))
    await replication_says(new, "role:master")
    with pytest.raises(StorageUnavailable):
        await old.register("ann", 8)
    old.server.stop()

    await new.register("ann", 9)
    assert await new.handle(4) == ["ann 4", "ann 5", "ann 7", "ann 9"]
    assert await new.queue.cancel(*later)
    assert await new.is_sound()


async def replication_says(system: System, words: str) -> None:
    async with asyncio.timeout(20):
        while words not in system.redis_cli("INFO", "replication"):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def test_what_a_lost_redis_held_is_registered_again_in_order(on: Callable[..., System]) -> None:
    """As the page prints it, interrupted once: nothing is handled twice after the loss."""
    page = printed("operations.md", "operations")
    page["PART"] = 2
    handler, order = page["OrderHandler"], page["Order"]
    done: list[int] = []

    async def perform(self: Handler, *orders: tuple[str, int]) -> None:
        done.extend(number for _, number in orders)

    handler.perform = perform
    system = on()
    await system.queue.register(handler, *[order("ann", number) for number in range(1, 8)])
    await Worker(RedisCoordinator(system.client), system.queue, handlers=[handler]).loop(2)
    system.redis_cli("FLUSHALL")

    unhandled = [order("ann", number) for number in range(1, 8) if number not in done]
    with SyncQueue(RedisOptions((system.server.address,))) as queue:
        await asyncio.to_thread(page["register_again"], queue, unhandled[:3])
        assert await asyncio.to_thread(page["register_again"], queue, unhandled) == len(unhandled)
    await Worker(RedisCoordinator(system.client), system.queue, handlers=[handler]).loop(len(unhandled))

    (state,) = await RedisStorage(system.client).observe(handler.all_shards())
    assert (done, state.depth) == (list(range(1, 8)), 0)
