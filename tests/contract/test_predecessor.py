"""Requests of sharded-queue 0.2.10 are reported, and brought over in order, none lost and none twice."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from redis.asyncio import Redis

from sharded_queue import Handler, Queue, Route, Worker
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.errors import StorageUnavailable
from sharded_queue.predecessor import DEFERRED, RECURRENT, Migration, Moved, hint
from tests.contract.predecessor import Predecessor

pytestmark = [pytest.mark.redis, pytest.mark.long, pytest.mark.timeout(600)]  # the first test installs the predecessor
ENOUGH = range(1, 1300)
"""More than two steps of a move in one tube."""


class Note(NamedTuple):
    user: int
    text: str


class Job(Handler):
    name = "jobs.Job"
    __module__ = "jobs"
    handled: list[Note]

    @classmethod
    async def route(cls, *requests: Note) -> list[Route]:
        return [Route(request.user % 3, request.user % 2) for request in requests]

    async def perform(self, *requests: Note) -> None:
        self.handled.extend(requests)


Old = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def predecessor(tmp_path_factory: pytest.TempPathFactory) -> Predecessor:
    made = Predecessor(tmp_path_factory.mktemp("predecessor"))
    made.install()
    return made


@pytest.fixture
def port(redis: Redis) -> int:
    return int(redis.connection_pool.connection_kwargs["port"])


@pytest.fixture
def old(predecessor: Predecessor, port: int) -> Old:
    def run(*words: object) -> "subprocess.CompletedProcess[str]":
        done = predecessor.run(port, *words)  # type: ignore[arg-type]
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def storage(redis: Redis) -> RedisStorage:
    Job.handled = []
    return RedisStorage(redis)


async def migrated(storage: RedisStorage, handlers: Sequence[type[Handler]] = (Job,)) -> list[Moved]:
    migration = Migration(storage, handlers)
    return [await migration.move(pipe) for pipe in await migration.pipes()]


async def drain(storage: RedisStorage, count: int) -> dict[int, list[int]]:
    """What a worker of ours handles, by user, in its order."""
    assert await Worker(RedisCoordinator(storage.link.redis), Queue(storage), handlers=[Job]).loop(count) == count
    by_user: dict[int, list[int]] = {}
    for note in Job.handled:
        by_user.setdefault(note.user, []).append(int(note.text))
    return by_user


def expected(numbers: Sequence[int]) -> dict[int, list[int]]:
    return {user: [n for n in numbers if n % 6 == user] for user in sorted({n % 6 for n in numbers})}


async def depth(storage: RedisStorage) -> int:
    return sum(state.depth for state in await storage.observe(Job.all_shards()))


async def test_requests_come_over_in_order(old: Old, storage: RedisStorage) -> None:
    old("register", *ENOUGH)

    moves = await migrated(storage)
    await Queue(storage).register(Job, Note(1, "9999"))
    handled = await drain(storage, len(ENOUGH) + 1)

    assert sum(move.count for move in moves) == len(ENOUGH)
    assert [move for move in moves if move.left] == []
    assert handled == {**expected(ENOUGH), 1: [*expected(ENOUGH)[1], 9999]}
    assert await Migration(storage, [Job]).pipes() == []


async def test_a_tube_of_many_steps_comes_over_in_order(old: Old, storage: RedisStorage) -> None:
    numbers = range(6, 6 * 1200, 6)
    old("register", *numbers)

    await migrated(storage)

    assert await drain(storage, len(numbers)) == {0: list(numbers)}


async def test_a_move_that_was_broken_off_is_resumed(
    old: Old, storage: RedisStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = range(6, 6 * 1200, 6)
    old("register", *numbers)
    run, drops = storage.scripts.run, 0

    async def broken(name: str, *rest: object, **options: object) -> object:
        nonlocal drops
        drops += name == "drop_from_pipe"
        if name == "drop_from_pipe" and drops == 2:
            raise StorageUnavailable("broken off between the registration and the drop")
        return await run(name, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(storage.scripts, "run", broken)
    (first,) = await migrated(storage)
    (second,) = await migrated(storage)

    assert first.left == ["broken off between the registration and the drop"]
    assert second.left == []
    assert await depth(storage) == len(numbers)
    assert await drain(storage, len(numbers)) == {0: list(numbers)}


async def test_two_moves_at_once_bring_each_request_over_once(old: Old, storage: RedisStorage) -> None:
    numbers = range(6, 6 * 700, 6)
    old("register", *numbers)
    one, two = Migration(storage, [Job]), Migration(storage, [Job])
    (pipe,) = await one.pipes()

    await one.move(pipe)
    await two.move(pipe)

    assert await depth(storage) == len(numbers)


async def test_what_is_registered_with_the_predecessor_after_a_move_comes_over_too(
    old: Old, storage: RedisStorage
) -> None:
    old("register", 6)
    await migrated(storage)
    old("register", 6, 12)
    await migrated(storage)

    assert await drain(storage, 3) == {0: [6, 6, 12]}


async def test_what_is_put_off_comes_over_with_its_time(old: Old, storage: RedisStorage) -> None:
    old("defer", -5, 1, 2)
    due = await storage.link.redis.lrange(f"tube_{DEFERRED}", 0, -1)
    later = b'[%d, "jobs/Job/0/0", [0, "60"]]' % (int(time.time()) + 3600)
    await storage.link.redis.rpush(f"tube_{DEFERRED}", later)

    moves = await migrated(storage)
    (state,) = await storage.observe(Job.all_shards())

    assert len(due) == 2
    assert [(move.pipe, move.count, move.left) for move in moves] == [(DEFERRED, 3, [])]
    assert (state.depth, state.delayed) == (2, 1)
    assert await drain(storage, 2) == {1: [1], 2: [2]}


async def test_what_recurs_becomes_a_schedule(old: Old, storage: RedisStorage) -> None:
    old("recur", 1)
    rule = b'["DTSTART:20260101T000000\\nRRULE:FREQ=DAILY", "jobs/Job/0/0", [0, "6"]]'
    await storage.link.redis.rpush(f"tube_{RECURRENT}", rule)

    (moved,) = await migrated(storage)
    (upcoming,) = await Queue(storage).schedules(Job)

    assert moved.count == 1
    assert len(moved.left) == 1
    assert "schedule(cron=…)" in moved.left[0]
    assert upcoming.timing == "every 3600 s"
    assert await storage.link.redis.lrange(f"tube_{RECURRENT}", 0, -1) == [rule]


async def test_what_cannot_be_read_stays_and_so_does_what_is_behind_it(old: Old, storage: RedisStorage) -> None:
    old("register", 6, 12)
    await storage.link.redis.rpush("tube_jobs/Job/0/0", b'[0, "18", "one too many"]', b'[0, "24"]')

    (moved,) = await migrated(storage)

    assert moved.count == 2
    assert "do not fit the fields of a Note" in moved.left[0]
    assert await storage.link.redis.llen("tube_jobs/Job/0/0") == 2
    assert await drain(storage, 2) == {0: [6, 12]}


async def test_what_nobody_serves_stays(old: Old, storage: RedisStorage) -> None:
    class Other(Handler):
        async def perform(self, *requests: Note) -> None: ...

    old("register", 6)
    (moved,) = await migrated(storage, [Other])

    assert moved.left == ["no --module defines its handler"]
    assert await storage.link.redis.llen("tube_jobs/Job/0/0") == 1


async def test_a_worker_of_the_predecessor_fails_on_our_keys(
    predecessor: Predecessor, port: int, storage: RedisStorage
) -> None:
    await Queue(storage).register(Job, Note(0, "6"))

    failed = predecessor.run(port, "work")

    assert failed.returncode == 1
    assert "WRONGTYPE" in failed.stderr or "parse_pipe" in failed.stderr


async def test_there_is_a_hint(old: Old, storage: RedisStorage) -> None:
    nothing = await hint(storage)
    await Queue(storage).register(Job, Note(0, "6"))
    ours = await hint(storage)
    old("register", 7)
    found = await hint(storage)

    assert nothing is None
    assert ours is None
    assert found is not None
    assert "tube_jobs/Job/1/1" in found
    assert "sharded-queue migrate" in found


def program(folder: Path, port: int, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/usr/bin:/bin", "QUEUE_REDIS_ADDRESS": f"127.0.0.1:{port}", "QUEUE_METRICS_PORT": "0"}
    command = [sys.executable, "-m", "sharded_queue", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


NEW = """
from typing import NamedTuple
from sharded_queue import Handler, Route

class Note(NamedTuple):
    user: int
    text: str

class Job(Handler):
    async def perform(self, *requests: Note) -> None: ...
"""


def test_the_commands_tell_and_move(old: Old, port: int, storage: RedisStorage, tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(NEW)
    old("register", 6, 12, 7)
    told = [program(tmp_path, port, word, "jobs.Job") for word in ("tubes", "check")]
    tubes = program(tmp_path, port, "tubes", "--module", "jobs")
    dry = program(tmp_path, port, "migrate", "--module", "jobs")
    applied = program(tmp_path, port, "migrate", "--module", "jobs", "--apply")
    again = program(tmp_path, port, "migrate", "--module", "jobs", "--apply")

    assert all("sharded-queue 0.2 has left requests" in each.stderr for each in [*told, tubes])
    assert "jobs/Job/0/0" in dry.stdout
    assert "nothing was moved" in dry.stdout
    assert "jobs/Job/0/0: moved 2 requests" in applied.stdout, applied.stderr
    assert applied.returncode == 0
    assert again.stdout == "sharded-queue 0.2 left nothing here\n"


def test_what_a_worker_of_the_predecessor_holds_stays(old: Old, port: int, redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(NEW)
    old("register", 6)
    code = "import redis, sys; redis.Redis(port=int(sys.argv[1])).set('lock_jobs/Job/0/0', 1)"
    subprocess.run([sys.executable, "-c", code, str(port)], check=True)
    locked = program(tmp_path, port, "migrate", "--module", "jobs", "--apply")
    forced = program(tmp_path, port, "migrate", "--module", "jobs", "--apply", "--ignore-locks")

    assert locked.returncode == 1
    assert "--ignore-locks" in locked.stdout
    assert forced.returncode == 0
    assert "moved 1 request" in forced.stdout


def test_a_worker_tells_when_it_starts(old: Old, port: int, tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(NEW)
    old("register", 7)
    environment = {"PATH": "/usr/bin:/bin", "QUEUE_REDIS_ADDRESS": f"127.0.0.1:{port}", "QUEUE_METRICS_PORT": "0"}
    command = [sys.executable, "-m", "sharded_queue", "worker", "jobs"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as worker:
        assert worker.stdout
        told = next((line for line in worker.stdout if "has left requests" in line), None)
        worker.terminate()

    assert told is not None
    assert "tube_jobs/Job/1/1" in told
