"""The commands that read and control a queue, as a person types them, on a real Redis."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis.asyncio import Redis

from sharded_queue import RedisStorage
from sharded_queue.cli import main
from sharded_queue.coordinators.redis import RedisCoordinator
from sharded_queue.settings import settings
from sharded_queue.storage import Entry, Failure
from sharded_queue.tube import Shard
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis

SHARD = Shard("shop.Charge")
Ask = Callable[[Callable[[Redis], Awaitable[Any]]], Any]


@pytest.fixture
def ask(redis_server: RedisServer) -> Ask:
    settings.redis_address = (redis_server.address,)

    def asked(question: Callable[[Redis], Awaitable[Any]]) -> Any:
        async def once() -> Any:
            async with Redis(port=redis_server.port) as redis:
                return await question(redis)

        return asyncio.run(once())

    asked(lambda redis: redis.flushall())
    return asked


def typed(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def register(ask: Ask, thread: str, *bodies: bytes) -> None:
    ask(lambda redis: RedisStorage(redis).register(SHARD, [Entry(thread, 0, list(bodies))]))


def die(ask: Ask) -> None:
    """The first request of the next thread goes to the dead letters."""

    async def died(redis: Redis) -> None:
        storage, coordinator = RedisStorage(redis), RedisCoordinator(redis)
        coordinator.attach(storage)
        (batch,) = (await coordinator.bind(SHARD, "w/1", 1, 1, 15.0)).batches
        await storage.fail(Failure(batch.lease, 0, batch.first, 1, "ValueError: declined"))
        await coordinator.release([batch.lease])

    ask(died)


def test_explain_says_what_a_thread_waits_for(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    said = typed("explain", "shop.Charge", "7")

    assert said.exit_code == 0, said.output
    assert said.output.startswith("thread 7 waits for a worker: it is the next to be bound")
    assert "priority 0: 2 requests" in said.output


def test_a_paused_thread_is_explained_and_resumed(ask: Ask) -> None:
    register(ask, "7", b"[1]")

    assert typed("pause", "shop.Charge", "7").output == "thread 7 of shop.Charge is paused\n"
    assert "thread 7 is paused" in typed("explain", "shop.Charge", "7").output
    assert typed("resume", "shop.Charge", "7").output == "thread 7 of shop.Charge is running\n"
    assert typed("resume", "shop.Charge", "7").output == "thread 7 of shop.Charge was running already\n"


def test_a_paused_handler_is_explained(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    typed("pause", "shop.Charge")

    assert "its handler is paused" in typed("explain", "shop.Charge", "7").output


def test_dead_letters_are_listed_and_replayed_to_the_head(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    die(ask)

    assert "ValueError: declined" in typed("dead", "list", "shop.Charge").output
    assert typed("dead", "replay", "shop.Charge", "1", "--head").output.startswith("1 dead letters")
    requests = typed("peek", "shop.Charge", "7", "--json").output.splitlines()
    assert [json.loads(line)["message"][-3:] for line in requests] == ["[1]", "[2]"]


def test_dropping_needs_to_be_told_which(ask: Ask) -> None:
    said = typed("dead", "drop", "shop.Charge")

    assert (said.exit_code, "say which" in said.output) == (2, True)


def test_dropped_letters_are_gone(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    die(ask)
    typed("dead", "drop", "shop.Charge", "--all")

    assert typed("dead", "list", "shop.Charge").output == "shop.Charge has no dead letters\n"


def test_check_finds_all_true(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")

    assert typed("check", "shop.Charge").output == "shop.Charge: all is true\n"


def test_check_names_what_somebody_changed_behind_our_back(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    ask(lambda redis: redis.lpop("tube_{shop.Charge}/7/0"))
    said = typed("check", "shop.Charge")

    assert said.exit_code == 1
    assert "tube 7/0 holds 1 requests, its index says 2" in said.output


def test_check_repairs_what_somebody_changed_and_says_what(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    ask(lambda redis: redis.lpop("tube_{shop.Charge}/7/0"))
    said = typed("check", "shop.Charge", "--repair")

    assert said.exit_code == 0, said.output
    assert "put right: counters depth: 2 is now 1\n" in said.output
    assert said.output.endswith("shop.Charge: all is true\n")
    assert json.loads(typed("check", "shop.Charge", "--repair", "--json").output)["changes"] == []
