"""Garbage over a live worker: nothing sound is lost, stranded, reordered or buried."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from redis.exceptions import ResponseError

from sharded_queue import Handler, Queue, Route, Worker, settings
from sharded_queue.backends.redis.check import found_wrong, repair
from sharded_queue.errors import UnreadableData
from tests.conftest import MODEL_SEED
from tests.contract.backend import SHARD, RedisBackend
from tests.contract.garbage.keys import HUGE, KINDS, OTHER_KINDS, do, key

pytestmark = pytest.mark.redis

SECONDS = 30
FUZZED_SECONDS = 25
"""How long rounds are begun."""
LEASE = 2.0
HANDLED: dict[str, list[str]] = {}
"""What the handler of the fuzz handled, by tube."""
PROGRESS = asyncio.Event()


class Fuzzed(Handler):
    """Takes requests written `thread:number`; the priority is that of the number."""

    name = SHARD.handler

    @classmethod
    async def route(cls, *requests: str) -> list[Route]:
        return [Route(request.partition(":")[0], int(request[-1]) % 2) for request in requests]

    async def perform(self, *requests: str) -> None:
        for request in requests:
            HANDLED.setdefault(tube_of(request), []).append(request)
        PROGRESS.set()
        await asyncio.sleep(0.001)


def tube_of(request: str) -> str:
    return f"{request.partition(':')[0]}/{int(request[-1]) % 2}"


def by_tube(requests: Iterable[str]) -> dict[str, list[str]]:
    """The first time that each request came, in their order, by tube."""
    tubes: dict[str, list[str]] = {}
    for request in dict.fromkeys(requests):
        tubes.setdefault(tube_of(request), []).append(request)
    return tubes


async def test_garbage_over_a_live_worker_harms_nothing_that_is_sound(on_redis: RedisBackend) -> None:
    """
    Garbage in one key, then in two, while a worker works: nothing that was acknowledged is lost, reordered or buried,
    and after a repair all of it is handled.
    """
    settings.coordinator_lease, settings.coordinator_delay, settings.redis_retry = LEASE, 0.2, 1.0
    settings.worker_concurrency, settings.worker_batch_size = 8, 4
    now = asyncio.get_running_loop().time
    end, seed = now() + FUZZED_SECONDS, MODEL_SEED
    while now() < end:
        await fuzzed(on_redis, Random(seed), f"MODEL_SEED={seed}")
        seed += 1


async def fuzzed(backend: RedisBackend, dice: Random, seed: str) -> None:
    await backend.redis.flushall()
    HANDLED.clear()
    done: list[Any] = [seed]
    producer = Registrar(Queue(backend.storage), dice)
    worker = Worker(backend.coordinator, producer.queue, handlers=[Fuzzed])
    await producer.register()
    working = asyncio.create_task(worker.loop())
    for pieces in (1, 2):
        for _ in range(pieces):
            done.append(garbage(dice))
            with suppress(ResponseError):  # the key is of another kind already
                await do(backend.redis, done[-1][1])
        await producer.register()
        await asyncio.sleep(dice.choice([0, 0.01, 0.2]))
        await put_right(backend)
        await producer.register()
    try:
        async with asyncio.timeout(SECONDS):
            while {tube: len(set(requests)) for tube, requests in HANDLED.items()} != producer.counts:
                PROGRESS.clear()
                await PROGRESS.wait()
    except TimeoutError:
        pytest.fail(f"{done}: {producer.missing()} were not handled; {await found_wrong(backend.redis_storage, SHARD)}")
    finally:
        worker.stop()
        await working
    assert {tube: list(dict.fromkeys(requests)) for tube, requests in HANDLED.items()} == by_tube(producer.all), done
    assert [letter.message for letter in await backend.storage.dead(SHARD) if letter.thread] == [], done
    await put_right(backend)


class Registrar:
    """Registers requests, those that were refused again, and knows what was acknowledged."""

    def __init__(self, queue: Queue, dice: Random) -> None:
        self.queue, self.dice, self.number = queue, dice, 0
        self.all: list[str] = []
        self.refused: list[str] = []

    async def register(self) -> None:
        """What is refused is registered before anything else later on: so its order stays."""
        made = [f"t{self.dice.randrange(12)}:{self.number + n}" for n in range(24)]
        self.number += len(made)
        requests = self.refused + made
        try:
            await self.queue.register(Fuzzed, *requests)
        except UnreadableData:
            self.refused = requests
        else:
            self.all += requests
            self.refused = []

    @property
    def counts(self) -> dict[str, int]:
        return {tube: len(requests) for tube, requests in by_tube(self.all).items()}

    def missing(self) -> list[str]:
        return sorted(set(self.all) - {request for requests in HANDLED.values() for request in requests})


async def put_right(backend: RedisBackend) -> None:
    """As an operator does: repair, and delete the one key that a repair leaves."""
    with suppress(UnreadableData):
        await repair(backend.redis_storage, SHARD)
        return
    await backend.redis.delete(key("layout"))
    await repair(backend.redis_storage, SHARD)


NAMES = ["t1", "t2/0", "t3", "t4/1", "nobody", "nobody/0", "0000000000000007", "3:1", b"\xff\xfe", ""]
SCORES = ["-inf", "inf", "1e300", "-1e300", "0", "-1", "1e15", "7.5"]
VALUES = ["", "garbage", "nan", "inf", "-1", HUGE, "1e300", b"\xff\x00\n\x1b", "0 1", f"0 0 {HUGE}", "1 0 t1", "- - -"]
FIELDS = [
    "depth",
    "sequence",
    "fence",
    "dead",
    "registered",
    "settled",
    "busy_us",
    "born",
    "polled",
    "largest",
    "latest",
    "reconciled",
]


def garbage(dice: Random) -> tuple[str, list[Any]]:
    """A command that puts garbage into one key, and what it is."""
    name = dice.choice(sorted(KINDS))
    kind = KINDS[name]
    if dice.random() < 0.3:
        other = dice.choice([each for each in OTHER_KINDS if each != kind])
        command, _, *values = OTHER_KINDS[other]
        script = "redis.call('DEL', KEYS[1]) redis.call(unpack(ARGV))"
        return f"{name} is a {other}", ["EVAL", script, 1, key(name), command, key(name), *values]
    if dice.random() < 0.2 and name != "later":
        return f"{name} is missing", ["DEL", key(name)]
    member, value = dice.choice(NAMES), dice.choice(VALUES)
    if kind == "zset":
        score = dice.choice(SCORES)
        if (name, score) == ("blocked", "inf"):  # that is a pause
            score = "-inf"
        return f"{name} has {score} for {member!r}", ["ZADD", key(name), score, member]
    if kind == "hash":
        field = dice.choice(FIELDS) if name == "counters" else member
        return f"{name} has {value!r:.20} for {field!r}", ["HSET", key(name), field, value]
    if kind == "list":
        return f"{name} has {value!r:.20}", ["RPUSH", key(name), value]
    return f"{name} is {value!r:.20}", ["SET", key(name), value]
