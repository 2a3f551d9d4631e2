"""
What each release kept in Redis, of every kind, is read by this one and finished in order, as docs/compatibility.md
promises. `make stored-data` records that of this release.
"""

import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from sharded_queue import Handler, KeyRoute, Queue, Route, StorageUnavailable, Worker
from sharded_queue.backends.redis.check import faults
from sharded_queue.backends.redis.snapshot import snapshot
from tests.contract.backend import RedisBackend
from tools.stored_data import KEYS, ORDERS, PAUSED, commands, store_everything

RELEASES = sorted((Path(__file__).parent / "data").glob("release-*.jsonl"))


class StoredHandler(Handler[str]):
    name = "stored.Any"
    handled: list[str]

    @classmethod
    async def route(cls, *requests: str) -> list[Route | KeyRoute]:
        return [Route(request.split("-")[0], int(request.split("-")[1])) for request in requests]

    async def perform(self, *requests: str) -> None:
        StoredHandler.handled.extend(requests)


class Orders(StoredHandler):
    name = ORDERS.handler


class Paused(StoredHandler):
    name = PAUSED.handler


class Keyed(StoredHandler):
    name = KEYS.handler
    threads = 4

    @classmethod
    async def route(cls, *requests: str) -> list[Route | KeyRoute]:
        return [KeyRoute(request.rpartition("-")[0]) for request in requests]


async def restore(on_redis: RedisBackend, release: Path) -> None:
    for line in release.read_text().splitlines():  # noqa: ASYNC240 - a small file
        await on_redis.redis.execute_command(*(word.encode("latin-1") for word in json.loads(line)))


def kinds(keys: list[str]) -> set[str]:
    """What keys are called, without the handler, the thread and the priority."""
    return {re.sub(r"/.*", "/…", re.sub(r"\{.*\}", "", key)) for key in keys}


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.stem)
async def test_what_a_release_stored_is_finished_in_order(on_redis: RedisBackend, release: Path) -> None:
    await restore(on_redis, release)
    StoredHandler.handled = []
    for shard in (ORDERS, KEYS, PAUSED):
        assert faults(await snapshot(on_redis.redis_storage, shard)) == []
    letters = {letter.error for letter in await on_redis.storage.dead(ORDERS)}
    assert letters == {"RuntimeError: no", "dropped by someone: not wanted"}
    assert {each.name for each in await on_redis.storage.schedules(ORDERS)} == {"pulse", "clock"}

    await on_redis.storage.pause(ORDERS, "b", False)
    await on_redis.storage.pause(PAUSED, None, False)
    await Worker(on_redis.coordinator, Queue(on_redis.storage), handlers=[Orders, Paused, Keyed]).loop(38)

    by_tube: dict[str, list[str]] = {}
    for request in StoredHandler.handled:
        by_tube.setdefault(request.rpartition("-")[0], []).append(request[-1])
    assert by_tube == {
        "a-0": ["1", "2", "3"],
        "a-1": ["1", "2"],
        "b-0": ["1", "2", "3"],
        "clock-0": ["1"],
        "failing-0": ["1", "2"],
        "held-0": ["1", "2", "3"],
        "late-0": ["1", "2"],
        "once-0": ["1"],
        "p-0": ["1", "2"],
        "pulse-0": ["1"],
        **{f"k{key}": ["1", "2", "3"] for key in range(6)},
    }
    for shard in (ORDERS, KEYS, PAUSED):
        assert faults(await snapshot(on_redis.redis_storage, shard)) == []


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.stem)
async def test_a_release_of_another_format_leaves_it_alone(on_redis: RedisBackend, release: Path) -> None:
    """As if that release had been a later one, which writes a format that this one does not know."""
    await restore(on_redis, release)
    keys = [f"{on_redis.redis_storage.keys.base(shard)}:counters" for shard in (ORDERS, KEYS, PAUSED)]
    for key in keys:
        await on_redis.redis.hset(key, "format", "3")
    before = [await on_redis.redis.dump(key) for key in sorted(await on_redis.redis.keys("*"))]

    with pytest.raises(StorageUnavailable, match=r"are of format 3, and this release .* reads and writes format 2"):
        await Queue(on_redis.storage).register(Orders, "a-0-4")

    assert [await on_redis.redis.dump(key) for key in sorted(await on_redis.redis.keys("*"))] == before


async def test_what_is_recorded_of_this_release_has_every_kind_of_key(on_redis: RedisBackend) -> None:
    """A new kind of key is recorded with the release that brings it: `make stored-data`."""
    (recorded,) = [release for release in RELEASES if release.stem == f"release-{version('sharded-queue')}"]
    await store_everything(on_redis.redis)
    now = [line[1] async for line in commands(on_redis.redis)]

    assert kinds([json.loads(line)[1] for line in recorded.read_text().splitlines()]) == kinds(now)
