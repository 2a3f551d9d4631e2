"""A request that kills its worker, among innocent ones, on real workers that are killed from outside as well."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sharded_queue import Handler, Queue, RedisCoordinator, RedisStorage, Route, settings
from sharded_queue.backends.redis.snapshot import snapshot
from sharded_queue.cli.commands.worker import serve
from sharded_queue.cli.hooks import Hooks
from sharded_queue.coordinator import BindRequest
from sharded_queue.storage import Dead
from tests.crash.worker_processes import WorkerProcesses
from tools.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.timeout(600)]
SEED = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(2**32))
SOON = 120
CRASH_LIMIT = 5
LEASE_SECONDS = 2.0
"""A worker that stands still for as long counts as dead, as nobody can know better: a busy machine must not do that."""


class PoisonHandler(Handler):
    """A negative number kills its worker, as an out-of-memory kill does."""

    name = "tests.Poison"
    seconds = 0.0
    journal: int

    @classmethod
    async def route(cls, *requests: int) -> list[Route]:
        return [Route(request) for request in requests]

    async def perform(self, *requests: int) -> None:
        for request in requests:
            os.write(self.journal, b"+%d\n" % request)
        await asyncio.sleep(self.seconds)
        if any(request < 0 for request in requests):
            os.kill(os.getpid(), signal.SIGKILL)
        for request in requests:
            os.write(self.journal, b"-%d\n" % request)


class OneThreadHandler(PoisonHandler):
    """All requests in a few threads, so that one death makes many suspects."""

    name = "tests.PoisonInFewThreads"

    @classmethod
    async def route(cls, *requests: int) -> list[Route]:
        return [Route(abs(request) % 10) for request in requests]


def work(address: str, folder: str, name: str, lease_seconds: float, seconds: float, crash_limit: int) -> None:
    settings.redis_address, settings.worker_name, settings.metrics_port = (address,), name, 0
    settings.coordinator_lease, settings.coordinator_delay = lease_seconds, 0.2
    settings.crash_limit = crash_limit
    PoisonHandler.seconds = seconds
    PoisonHandler.journal = os.open(Path(folder) / "journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    asyncio.run(serve([PoisonHandler, OneThreadHandler], Hooks([], None)))


class Scene:
    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.folder, self.random = folder, random.Random(SEED)
        self.processes = WorkerProcesses(server, folder, work)
        self.processes.lease_seconds = LEASE_SECONDS
        self.redis = Redis(host="127.0.0.1", port=server.port)
        self.storage = RedisStorage(self.redis)
        self.queue = Queue(self.storage)
        self.deaths = 0

    def start(self, workers: int, *, seconds: float = 0.0, crash_limit: int = CRASH_LIMIT) -> None:
        self.processes.arguments = (seconds, crash_limit)
        self.processes.start(workers)

    def raise_the_dead(self) -> None:
        """As an orchestrator does: a worker that has died is started again."""
        for worker in [worker for worker in self.processes.workers if not worker.is_alive()]:
            self.deaths += 1
            self.processes.workers.remove(worker)
            self.processes.start()

    async def drained(self, handler: type[Handler]) -> list[Dead]:
        """Until nothing is left to do; the dead letters."""
        async with asyncio.timeout(SOON):
            while (await self.storage.observe(handler.all_shards()))[0].depth:
                self.raise_the_dead()
                await asyncio.sleep(0.02)
        self.raise_the_dead()
        return await self.storage.dead(handler.all_shards()[0], 10_000)

    async def kill_one_outside_of_last_tries(self) -> None:
        """A worker that has a last try in hand stands still while it is looked at, and is left alone."""
        (shard,) = PoisonHandler.all_shards()
        async with asyncio.timeout(SOON):
            while True:
                worker = self.random.choice(self.processes.workers)
                self.processes.pause(worker)
                held = (await snapshot(self.storage, shard)).held.values()
                if not any(hold.is_alone and hold.owner.startswith(f"{worker.name}/") for hold in held):
                    break
                self.processes.resume(worker)
                await asyncio.sleep(0.02)
        worker.kill()
        worker.join(10)
        self.raise_the_dead()

    def numbers(self, mark: str) -> list[int]:
        lines = (self.folder / "journal").read_text().splitlines()
        return [int(line[1:]) for line in lines if line.startswith(mark)]


@pytest.fixture
async def scene(own_redis: Callable[..., RedisServer], tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(own_redis(), tmp_path)
    yield scene
    scene.processes.kill_all()
    await scene.redis.aclose()


def poisons_of(dead: list[Dead]) -> list[str]:
    return sorted(letter.thread for letter in dead)


@pytest.mark.parametrize(("workers", "seconds"), [(1, 0.0), (1, 0.1), (3, 0.0), (3, 0.1)])
async def test_a_poison_is_buried_and_no_bystander_is(scene: Scene, workers: int, seconds: float) -> None:
    await scene.queue.register(PoisonHandler, -1, *range(30))
    scene.start(workers, seconds=seconds)
    dead = await scene.drained(PoisonHandler)

    assert poisons_of(dead) == ["-1"]
    assert dead[0].error == "5 workers died with this request in hand, the last one while it handled nothing else"
    assert scene.deaths == CRASH_LIMIT
    assert set(scene.numbers("-")) == set(range(30))


async def test_two_poisons_are_buried_and_no_bystander_is(scene: Scene) -> None:
    await scene.queue.register(PoisonHandler, *range(15), -1, -2, *range(15, 30))
    scene.start(2, seconds=0.05)
    dead = await scene.drained(PoisonHandler)

    assert poisons_of(dead) == ["-1", "-2"]
    assert scene.deaths <= 2 * CRASH_LIMIT
    assert set(scene.numbers("-")) == set(range(30))


async def test_with_a_limit_of_one_the_second_death_buries(scene: Scene) -> None:
    await scene.queue.register(PoisonHandler, *range(10), -1)
    scene.start(1, crash_limit=1)
    dead = await scene.drained(PoisonHandler)

    assert poisons_of(dead) == ["-1"]
    assert scene.deaths == 2
    assert dead[0].error.startswith("2 workers died")


async def test_kills_from_outside_bury_nobody(scene: Scene) -> None:
    """Out-of-memory kills, evictions and lost nodes hit any moment. With a low limit, last tries come soon."""
    await scene.queue.register(PoisonHandler, *range(60))
    scene.start(2, seconds=0.1, crash_limit=3)
    for _ in range(5):
        await asyncio.sleep(scene.random.uniform(0, LEASE_SECONDS))
        await scene.kill_one_outside_of_last_tries()
    dead = await scene.drained(PoisonHandler)

    assert dead == [], f"seed {SEED}"
    assert scene.deaths == 5
    assert set(scene.numbers("-")) == set(range(60))


@pytest.mark.parametrize("poisons", [0, 1])
async def test_a_thousand_suspects_are_cleared_by_one_worker(scene: Scene, poisons: int) -> None:
    """All of the ten threads were in the hand of a worker that died."""
    for part in (range(500), [-1] * poisons, range(500, 1000)):
        await scene.queue.register(OneThreadHandler, *part)
    coordinator = RedisCoordinator(scene.redis)
    coordinator.attach(scene.storage)
    (shard,) = OneThreadHandler.all_shards()
    bound = await coordinator.bind(shard, BindRequest("dying/1", 10, 128, LEASE_SECONDS))
    began = time.monotonic()
    scene.start(1)
    dead = await scene.drained(OneThreadHandler)
    print(f"{poisons} poisons among 1,000 suspects: {time.monotonic() - began:.1f} s, {scene.deaths} deaths")

    assert sum(len(batch.messages) for batch in bound.batches) == 1000 + poisons
    assert len(dead) == poisons
    assert set(scene.numbers("-")) == set(range(1000))
