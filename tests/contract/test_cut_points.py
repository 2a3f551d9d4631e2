"""
The connection is cut at every command of a whole life: register, retime, run now, drop, reshard, bind, handle, fail,
bury, settle, release.

Each command once, in four ways: nothing lost, nothing reordered, nothing handled twice, and all counters right.
"""

import asyncio
import time
from typing import NamedTuple

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry as ClientRetry
from redis.backoff import NoBackoff

from sharded_queue import (
    Handler,
    KeyRoute,
    Queue,
    RedisCoordinator,
    RedisStorage,
    Retry,
    Worker,
    letters,
    settings,
)
from sharded_queue.backends.redis.check import faults
from sharded_queue.backends.redis.snapshot import snapshot
from sharded_queue.storage import Cause, Entry, Registration, Schedule
from sharded_queue.timing import every
from sharded_queue.tube import Shard, Tube
from tools.redis_proxy import CUTS, Cut, CuttingProxy
from tools.redis_server import RedisServer

pytestmark = pytest.mark.redis


class Job(NamedTuple):
    thread: str
    name: str


class Life(NamedTuple):
    """How a whole life went."""

    handled: dict[str, list[str]]
    dead: list[str]
    dropped: list[tuple[str, int]]
    totals: tuple[int, int, int, int]
    duplicates: list[str]
    faults: list[str]


EXPECTED = Life(
    {"a": ["1", "2"], "b": ["flaky", "3"]}, ["poison"], [("later", 1), ("planned", 1)], (7, 4, 3, 0), ["2"], []
)


async def plan_and_drop(queue: Queue) -> None:
    """What a person does: a schedule and a delayed request, on threads of their own, are retimed, run and dropped."""
    storage, shard = queue.storage, Shard("tests.Life")
    plan = Schedule("plan", every(3600), "planned", 0, b'["c", "planned"]')
    later = Registration([Entry("later", 0, [b'["c", "later"]'])], delay_seconds=3600)
    await storage.schedule(shard, plan)
    numbers = (await storage.register(shard, later)).firsts
    await storage.edit_schedule(shard, "plan", every(1800))
    await storage.move_delayed(shard, numbers, int((time.time() + 1800) * 1000))
    await storage.run_schedule(shard, "plan")
    await storage.run_delayed(shard, numbers)
    for thread in ("planned", "later"):
        await storage.drop(shard, thread, Cause("ann", "why"))
    await storage.unschedule(shard, "plan")


async def live(server: RedisServer, proxy: CuttingProxy) -> Life:
    """
    A flaky request is put off once, a poisonous one dies, the others are handled, over more threads than at first: all
    through the proxy.
    """

    class LifeHandler(Handler):
        name = "tests.Life"
        retry = Retry(limit=2, base_seconds=0, cap_seconds=0)
        threads = 4

        @classmethod
        async def route(cls, *requests: Job) -> list[KeyRoute]:
            return [KeyRoute(request.thread) for request in requests]

        async def perform(self, *requests: Job) -> None:
            for request in requests:
                if request.name == "poison" or (request.name == "flaky" and "flaky" not in tried):
                    tried.append(request.name)
                    raise ValueError(request.name)
                handled.setdefault(request.thread, []).append(request.name)

    handled: dict[str, list[str]] = {}
    tried: list[str] = []
    settings.worker_batch_size = 2
    through = Redis(host="127.0.0.1", port=proxy.port, retry=ClientRetry(NoBackoff(), 0))
    direct = Redis(host="127.0.0.1", port=server.port)
    await direct.flushall()
    queue = Queue(RedisStorage(through))
    await queue.register(LifeHandler, Job("a", "poison"), Job("a", "1"), Job("b", "flaky"))
    await plan_and_drop(queue)
    await queue.reshard(LifeHandler, 8)
    new = [Job("a", "2"), Job("b", "3"), Job("a", "2")]
    receipts = await queue.register(LifeHandler, *new, deduplicate_seconds=60)
    async with asyncio.timeout(10):
        await Worker(RedisCoordinator(through), queue, handlers=[LifeHandler]).loop(4)
    storage, (shard,) = RedisStorage(direct), LifeHandler.all_shards()
    (state,) = await storage.observe([shard])
    dead = [letter.message[13:].decode() for letter in await storage.dead(shard)]
    life = Life(
        handled,
        ["poison" for message in dead if "poison" in message],
        sorted((drop.thread, drop.requests) for drop in await storage.drops(shard)),
        (state.registered, state.settled, state.dead, state.depth),
        [job.name for job, receipt in zip(new, receipts, strict=True) if receipt.is_duplicate],
        faults(await snapshot(storage, shard)),
    )
    await through.aclose()
    await direct.aclose()
    return life


async def test_a_life_without_a_cut(redis_server: RedisServer) -> None:
    async with CuttingProxy(redis_server.port) as proxy:
        assert await live(redis_server, proxy) == EXPECTED


@pytest.mark.parametrize("cut", CUTS)
async def test_a_cut_at_any_command_changes_nothing(redis_server: RedisServer, cut: Cut) -> None:
    at, has_cut = 0, True
    while has_cut:
        async with CuttingProxy(redis_server.port, at, cut) as proxy:
            assert (at, await live(redis_server, proxy)) == (at, EXPECTED)
            has_cut, at = proxy.has_cut, at + 1

    print(f"{at - 1} commands cut {cut}")
    assert at > 12


@pytest.mark.parametrize("cut", CUTS)
async def test_a_cut_at_any_command_of_a_hand_over_loses_and_repeats_nothing(
    redis_server: RedisServer, cut: Cut
) -> None:
    """Also at the wake-up that the request comes with."""
    settings.worker_empty_pause = 0.01
    at, has_cut = 0, True
    while has_cut:
        async with CuttingProxy(redis_server.port, at, cut) as proxy:
            assert (at, await hand_over(redis_server, proxy)) == (at, (["1", "2"], []))
            has_cut, at = proxy.has_cut, at + 1

    assert at > 8


async def hand_over(server: RedisServer, proxy: CuttingProxy) -> tuple[list[str], list[str]]:
    """What a worker handles, request by request, each of which comes to the drained thread; and what is wrong then."""

    class HandedHandler(Handler):
        name = "tests.Handed"

        async def perform(self, *requests: Job) -> None:
            handled.extend(request.name for request in requests)

    handled: list[str] = []
    through = Redis(host="127.0.0.1", port=proxy.port, retry=ClientRetry(NoBackoff(), 0))
    direct = Redis(host="127.0.0.1", port=server.port)
    await direct.flushall()
    queue = Queue(RedisStorage(direct))
    worker = Worker(RedisCoordinator(through), Queue(RedisStorage(through)), handlers=[HandedHandler])
    serving = asyncio.create_task(worker.loop())
    async with asyncio.timeout(20):
        for number in (1, 2):
            await queue.register(HandedHandler, Job("a", str(number)))
            while worker.stats.handled < number:  # noqa: ASYNC110 - no event says that a request was settled
                await asyncio.sleep(0.002)
        worker.stop()
        await serving
    (shard,) = HandedHandler.all_shards()
    wrong = faults(await snapshot(queue.storage, shard))
    await through.aclose()
    await direct.aclose()
    return handled, wrong


@pytest.mark.parametrize("cut", CUTS)
async def test_a_cut_at_any_command_of_a_replay_in_steps_keeps_the_order(
    redis_server: RedisServer, cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "STEP_NUMBERS", 2)
    at, has_cut = 0, True
    while has_cut:
        async with CuttingProxy(redis_server.port, at, cut) as proxy:
            assert (at, await replay(redis_server, proxy)) == (at, (["1", "2", "3", "4", "5"], [], []))
            has_cut, at = proxy.has_cut, at + 1

    assert at > 4


async def replay(server: RedisServer, proxy: CuttingProxy) -> tuple[list[str], list[str], list[str]]:
    """What waits after a replay to the head of a thread, what is paused, and what is wrong."""
    through = Redis(host="127.0.0.1", port=proxy.port, retry=ClientRetry(NoBackoff(), 0))
    direct = Redis(host="127.0.0.1", port=server.port)
    await direct.flushall()
    storage, shard = RedisStorage(direct), Shard("tests.Life")
    await storage.register(shard, Registration([Entry("a", 0, [b"1", b"2", b"3", b"4", b"5"])]))
    numbers = (await storage.drop(shard, "a", Cause("ann", "why"))).letters
    async for _ in letters.settle(RedisStorage(through), shard, numbers, "head"):
        pass
    waiting = [message[13:].decode() for _, message in await storage.peek(Tube(shard, "a", 0))]
    wrong = await storage.paused(shard), faults(await snapshot(storage, shard))
    await through.aclose()
    await direct.aclose()
    return waiting, *wrong
