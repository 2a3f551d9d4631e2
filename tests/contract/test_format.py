"""
The data carry the number of their format: a release that writes another one is refused with a sentence and leaves them
alone, and what earlier releases wrote in the same format is read.

`data/format-2.jsonl` holds the commands that make the keys of a shard as the first release with this format writes
them, without its number.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

import sharded_queue
from sharded_queue import Handler, KeyRoute, Queue, Route, StorageUnavailable, Worker
from sharded_queue.backends.redis.check import faults, repair
from sharded_queue.backends.redis.snapshot import snapshot
from sharded_queue.storage import Cause, Entry, Registration, Schedule, Settlement
from sharded_queue.timing import Timing
from sharded_queue.tube import Shard, Tube
from tests.contract.backend import LEASE_SECONDS, SHARD, RedisBackend

STORED = Path(__file__).parent / "data" / "format-2.jsonl"
PACKAGE = Path(sharded_queue.__file__).parent
OTHER = r"the data of .*tests\.Handler.* are of format 3, and this release .* reads and writes format 2"

Step = Callable[[RedisBackend], Awaitable[Any]]
ONCE = Entry("a", 0, [b"1"], ["identity"])
PULSE = Schedule("pulse", Timing(every_ms=1000), "a", 0, b"1")

STEPS: dict[str, Step] = {
    "register": lambda m: m.register("a", "2"),
    "register delayed": lambda m: m.storage.register(SHARD, Registration([Entry("a", 0, [b"1"])], delay_seconds=5)),
    "register once": lambda m: m.storage.register(SHARD, Registration([ONCE], window_seconds=5)),
    "schedule": lambda m: m.storage.schedule(SHARD, PULSE),
    "unschedule": lambda m: m.storage.unschedule(SHARD, "pulse"),
    "schedules": lambda m: m.storage.schedules(SHARD),
    "register_due": lambda m: m.storage.register_due(SHARD),
    "bind": lambda m: m.bind(),
    "observe": lambda m: m.observe(),
    "peek": lambda m: m.storage.peek(Tube(SHARD, "a", 0)),
    "progress": lambda m: m.storage.progress(SHARD, ["a"]),
    "workers": lambda m: m.storage.workers(SHARD),
    "explain": lambda m: m.storage.explain(SHARD, "a"),
    "pause": lambda m: m.storage.pause(SHARD, "a", True),
    "pause all": lambda m: m.storage.pause(SHARD, None, True),
    "dead": lambda m: m.storage.settle_dead(SHARD, [1], "drop"),
    "drop": lambda m: m.storage.drop(SHARD, "a", Cause("ann", "why")),
    "reshard": lambda m: m.storage.reshard(SHARD, 4),
    "delayed": lambda m: m.storage.delayed(SHARD),
    "move_delayed": lambda m: m.storage.move_delayed(SHARD, [1], 2**42),
    "edit_schedule": lambda m: m.storage.edit_schedule(SHARD, "pulse", PULSE.timing),
    "run_delayed": lambda m: m.storage.run_delayed(SHARD, [1]),
    "run_schedule": lambda m: m.storage.run_schedule(SHARD, "pulse"),
    "cancel": lambda m: m.storage.cancel(SHARD, [1]),
    "evict": lambda m: m.coordinator.evict(SHARD, ["w"]),
    "cordon": lambda m: m.coordinator.cordon(SHARD, ["w"], 5),
    "check": lambda m: snapshot(m.redis_storage, SHARD),
    "repair": lambda m: repair(m.redis_storage, SHARD),
}


class StoredJob(Handler):
    name = "stored.Job"
    handled: list[str]

    @classmethod
    async def route(cls, *requests: str) -> list[Route | KeyRoute]:
        return [Route(thread=request.split("-")[0], priority=int(request.split("-")[1])) for request in requests]

    async def perform(self, *requests: str) -> None:
        self.handled.extend(requests)


async def everything(redis: Redis) -> dict[bytes, bytes]:
    return {key: await redis.dump(key) for key in sorted(await redis.keys("*"))}


async def test_the_first_registration_notes_the_format(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")

    assert await on_redis.redis.hget(f"{on_redis.redis_storage.keys.base(SHARD)}:counters", "format") == b"2"


@pytest.mark.parametrize("step", STEPS)
async def test_data_of_another_format_are_left_alone(on_redis: RedisBackend, step: str) -> None:
    await on_redis.register("a", "1")
    await on_redis.redis.hset(f"{on_redis.redis_storage.keys.base(SHARD)}:counters", "format", 3)
    before = await everything(on_redis.redis)

    with pytest.raises(StorageUnavailable, match=OTHER):
        await STEPS[step](on_redis)

    assert await everything(on_redis.redis) == before


async def test_what_a_worker_has_in_its_hands_it_may_settle(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    batch = await on_redis.bind_one()
    await on_redis.redis.hset(f"{on_redis.redis_storage.keys.base(SHARD)}:counters", "format", 3)

    assert await on_redis.coordinator.renew([batch.lease], LEASE_SECONDS) == []
    (settled,) = await on_redis.storage.settle([Settlement(batch.lease, 0, batch.last, 0.1, release=True)])
    assert settled.is_released


async def test_a_number_that_is_none_does_no_harm(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    await on_redis.redis.hset(f"{on_redis.redis_storage.keys.base(SHARD)}:counters", "format", "garbage")

    assert await on_redis.bind()


def release_of_format(number: int, folder: Path, port: int, words: str) -> str:
    """What a program says that uses a copy of this release with another number, as a later release would have one."""
    copy = Path(shutil.copytree(PACKAGE, folder / PACKAGE.name, dirs_exist_ok=True))
    prelude = copy / "backends" / "redis" / "lua" / "_prelude.lua"
    text = prelude.read_text()
    assert text.count("local FORMAT = '2'") == 1
    prelude.write_text(text.replace("local FORMAT = '2'", f"local FORMAT = '{number}'"))
    environment = {**os.environ, "PYTHONPATH": str(folder), "QUEUE_REDIS_ADDRESS": f"127.0.0.1:{port}"}
    done = subprocess.run(
        [sys.executable, "-c", words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


LATER = """
import asyncio, sharded_queue
from sharded_queue import Handler, Queue
from sharded_queue.backends.redis.client import connect, close
from sharded_queue.backends.redis.storage import RedisStorage
class Job(Handler):
    name = "tests.Handler"
    async def perform(self, *requests: str) -> None: ...
async def main():
    client = connect()
    try:
        await Queue(RedisStorage(client)).register(Job, "1")
        print("registered")
    finally:
        await close(client)
asyncio.run(main())
"""


async def test_a_later_release_leaves_our_data_alone_and_we_leave_its(on_redis: RedisBackend, tmp_path: Path) -> None:
    port = on_redis.redis.connection_pool.connection_kwargs["port"]
    await on_redis.register("a", "1")
    before = await everything(on_redis.redis)
    refused = release_of_format(3, tmp_path, port, LATER)
    after = await everything(on_redis.redis)
    await on_redis.redis.flushall()
    taken = release_of_format(3, tmp_path, port, LATER)

    assert "are of format 2, and this release of sharded-queue reads and writes format 3" in refused
    assert after == before
    assert "registered" in taken
    with pytest.raises(StorageUnavailable, match=OTHER):
        await on_redis.register("a", "1")


async def test_what_earlier_releases_wrote_is_read(on_redis: RedisBackend) -> None:
    for line in STORED.read_text().splitlines():
        await on_redis.redis.execute_command(*json.loads(line))
    shard = Shard(StoredJob.name)
    StoredJob.handled = []
    queue = Queue(on_redis.storage)

    assert faults(await snapshot(on_redis.redis_storage, shard)) == []
    assert [letter.error for letter in await on_redis.storage.dead(shard)] == ["RuntimeError: no"]
    assert (await on_redis.storage.explain(shard, "b")).blocked_seconds == float("inf")
    await on_redis.storage.pause(shard, "b", False)
    await queue.register(StoredJob, "a-0-4", "held-0-4")
    await Worker(on_redis.coordinator, queue, handlers=[StoredJob]).loop(17)

    by_tube: dict[str, list[str]] = {}
    for request in StoredJob.handled:
        by_tube.setdefault(request.rpartition("-")[0], []).append(request[-1])
    assert by_tube == {
        "a-0": ["1", "2", "3", "4"],
        "a-1": ["1", "2"],
        "b-0": ["1"],
        "failing-0": ["1", "2"],
        "held-0": ["1", "2", "3", "4"],
        "late-0": ["1", "2"],
        "once-0": ["1"],
        "pulse-0": ["1"],
    }
    assert faults(await snapshot(on_redis.redis_storage, shard)) == []
