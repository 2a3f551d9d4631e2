"""
Workers and Redis die under load; the history of what was done is judged afterwards.

How often: CRASH_KILLS, CRASH_STOPS, CRASH_ROLLOUTS, CRASH_REDIS_KILLS, CRASH_OUTCOME_KILLS. CRASH_SEED begins with the
same order again.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from sharded_queue import Admin
from sharded_queue.admin.pause import Resume
from sharded_queue.backends.redis.check import faults as shard_faults
from sharded_queue.backends.redis.snapshot import snapshot
from tests.crash.history import faults, read, replays
from tests.crash.worker_processes import (
    BATCH,
    LEASE_SECONDS,
    Producer,
    StepHandler,
    WorkerProcesses,
    work,
    work_with_trouble,
)
from tools.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.long, pytest.mark.timeout(3600)]
KILLS = int(os.environ.get("CRASH_KILLS", "500"))
STOPS = int(os.environ.get("CRASH_STOPS", "100"))
ROLLOUTS = int(os.environ.get("CRASH_ROLLOUTS", "50"))
REDIS_KILLS = int(os.environ.get("CRASH_REDIS_KILLS", "20"))
OUTCOME_KILLS = int(os.environ.get("CRASH_OUTCOME_KILLS", "100"))
SEED = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(2**32))
DRAIN_SECONDS = 60


class Scene:
    """A Redis, workers and a producer, and the judgement at the end."""

    def __init__(self, server: RedisServer, folder: Path, work: Callable[..., None] = work) -> None:
        self.server, self.folder = server, folder
        self.processes, self.producer = WorkerProcesses(server, folder, work), Producer("127.0.0.1", server.port)
        self.random = random.Random(SEED)

    async def play(self, times: int, strike: Callable[[], Awaitable[None]], workers: int = 3) -> int:
        """Strike so many times while requests come in, let everything drain, judge; how many requests were repeated."""
        self.processes.start(workers)
        feeding = asyncio.create_task(self.producer.feed())
        await self.work_has_begun()
        for _ in range(times):
            await strike()
            assert not feeding.done(), feeding.exception()
        self.producer.is_done = True
        async with asyncio.timeout(DRAIN_SECONDS):
            await feeding
            await self.producer.drained()
        codes = await self.processes.stop_all()
        history = read(self.folder)
        (shard,) = StepHandler.all_shards()
        print(f"seed {SEED}: {times} strikes, {len(history)} requests done, {replays(history)} of them again")

        assert codes == [0] * len(codes)
        assert faults(self.producer.registered, history, BATCH) == []
        assert shard_faults(await snapshot(self.producer.storage, shard)) == []
        return replays(history)

    def trouble(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("*.trouble"))

    async def work_has_begun(self) -> None:
        async with asyncio.timeout(DRAIN_SECONDS):
            while len(read(self.folder)) < 50:  # noqa: ASYNC110 - the workers are other processes, and call nobody here
                await asyncio.sleep(0.05)

    async def some_time(self, longest: float) -> None:
        """A strike may hit any moment of a batch, a settlement or a bind."""
        await asyncio.sleep(self.random.uniform(0, longest))


@pytest.fixture
async def scene(own_redis: Callable[..., RedisServer], tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(own_redis(appendonly="yes", appendfsync="always"), tmp_path)
    yield scene
    scene.processes.kill_all()
    await scene.producer.redis.aclose()


async def test_kill_9_of_workers_loses_nothing_and_keeps_the_order(scene: Scene) -> None:
    async def kill_one() -> None:
        await scene.some_time(0.3)
        scene.processes.kill(scene.random.choice(scene.processes.workers))
        scene.processes.start()

    await scene.play(KILLS, kill_one)


async def test_a_worker_stopped_past_its_lease_does_no_harm_when_it_goes_on(scene: Scene) -> None:
    async def stop_two() -> None:
        await scene.some_time(0.2)
        workers = scene.random.sample(scene.processes.workers, 2)
        for worker in workers:
            scene.processes.pause(worker)
        await asyncio.sleep(LEASE_SECONDS * 1.5)
        for worker in workers:
            scene.processes.resume(worker)

    await scene.play(STOPS // 2, stop_two, workers=4)


async def test_a_rollout_repeats_no_request(scene: Scene) -> None:
    """A lease of its usual length: one that a machine under load outlasts would say nothing of rollouts."""
    scene.processes.lease_seconds = 15

    async def roll_out_one() -> None:
        await scene.some_time(0.1)
        assert await scene.processes.roll_out(scene.processes.workers[0]) == 0

    assert await scene.play(ROLLOUTS, roll_out_one) == 0


async def test_kill_9_of_redis_loses_nothing_that_was_acknowledged(scene: Scene) -> None:
    async def kill_redis() -> None:
        await scene.some_time(0.4)
        await asyncio.to_thread(scene.server.kill)
        await asyncio.to_thread(scene.server.start)

    await scene.play(REDIS_KILLS, kill_redis)


async def test_no_request_passes_one_that_fails_or_snoozes_whatever_is_killed(
    own_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    """Requests use up their tries and stop their threads, which a person resumes soon. None becomes a dead letter."""
    scene = Scene(own_redis(appendonly="yes", appendfsync="always"), tmp_path, work_with_trouble)
    admin, (shard,) = Admin(scene.producer.storage), StepHandler.all_shards()
    act = Resume(handler=admin.named(StepHandler), exhausted=True)
    resumed = 0

    async def resume() -> None:
        nonlocal resumed
        while True:
            resumed += (await admin.do(act)).tried_anew
            await asyncio.sleep(0.1)

    async def kill_one() -> None:
        await scene.some_time(0.3)
        if scene.random.random() < REDIS_KILLS / OUTCOME_KILLS:
            await asyncio.to_thread(scene.server.kill)
            await asyncio.to_thread(scene.server.start)
        else:
            scene.processes.kill(scene.random.choice(scene.processes.workers))
            scene.processes.start()

    resuming = asyncio.create_task(resume())
    try:
        await scene.play(OUTCOME_KILLS, kill_one)
        assert not resuming.done(), resuming.exception()
        assert await scene.producer.storage.dead(shard) == []
    finally:
        resuming.cancel()
        scene.processes.kill_all()
        await scene.producer.redis.aclose()
    trouble = scene.trouble()
    print(f"{trouble.count('failed')} failures, {trouble.count('snoozed')} snoozes, {resumed} threads resumed")
    assert min(trouble.count("failed"), trouble.count("snoozed"), resumed) > 0
