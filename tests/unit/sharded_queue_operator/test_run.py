"""The parts of `sharded-queue run`: processes in place of pods, the check of the journals."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sharded_queue_operator.local import processes as local
from sharded_queue_operator.local.order_check import Verdict, judged
from sharded_queue_operator.local.processes import Crew, Failed, environment, words
from sharded_queue_operator.local.report import Outcome
from sharded_queue_operator.resource.file import read
from tools.redis_server import RedisServer

EXAMPLE = Path(__file__).parents[3] / "examples" / "notifications" / "shardedqueue.yaml"
SECONDS = 10

# What a process gets


def test_processes_get_what_a_pod_would_get(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QUEUE_WORKER_BATCH_SIZE", "77")
    monkeypatch.setenv("QUEUE_DEFAULT_PRIORITY", "3")
    resource, _ = read(EXAMPLE)

    given = environment(resource, tmp_path, "journal")

    assert given["QUEUE_WORKER_BATCH_SIZE"] == "16"
    assert given["QUEUE_WORKER_HANDLERS"] == "notifications.NotifyHandler"
    assert given["QUEUE_WORKER_CONCURRENCY"] == "1"
    assert "QUEUE_DEFAULT_PRIORITY" not in given
    assert given["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)


def test_the_python_of_a_producer_is_ours() -> None:
    assert words("python -m notifications --requests 7") == [sys.executable, "-m", "notifications", "--requests", "7"]


@pytest.mark.parametrize("command", ["", "'"])
def test_a_producer_that_is_no_command_is_refused(command: str) -> None:
    with pytest.raises(Failed, match="cannot be read"):
        words(command)


def test_without_a_redis_to_start_run_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Failed, match=r"apt-get install redis-server.*--redis HOST:PORT"):
        local.LocalRedis(tmp_path).command()


@pytest.mark.redis
async def test_a_port_that_another_program_took_meanwhile_is_not_insisted_on(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is the word of a run before that logged into the same folder taken for ours."""
    (tmp_path / "redis.log").write_text("Ready to accept connections tcp\n")
    ports = [local.free_port(), redis_server.port]
    monkeypatch.setattr(local, "free_port", ports.pop)
    redis = local.LocalRedis(tmp_path)
    try:
        assert await redis.start() != redis_server.address
    finally:
        await redis.stop()

    assert ports == []


# Processes in place of pods

Told = asyncio.Queue[object]


@pytest.fixture
def told() -> Told:
    return asyncio.Queue()


@pytest.fixture
async def crew(tmp_path: Path, told: Told) -> AsyncIterator[Crew]:
    made = Crew([sys.executable, "-c", "import time; time.sleep(600)"], os.environ, tmp_path, tmp_path)
    made.say = made.fail = told.put_nowait
    yield made
    await made.stop(0)


async def test_idle_workers_leave_first_and_then_the_youngest(crew: Crew) -> None:
    await crew.scale(4, {})
    await crew.scale(2, dict.fromkeys(("worker-1", "worker-3", "worker-4"), 1))

    assert [member.name for member in crew.staying] == ["worker-1", "worker-3"]


async def test_leaving_workers_count_as_running_until_they_are_gone(crew: Crew) -> None:
    await crew.scale(2, {})
    await crew.scale(0, {})
    assert (len(crew.running), len(crew.staying), crew.most) == (2, 0, 2)
    await crew.stop(SECONDS)

    assert crew.running == []
    spent = crew.seconds()
    assert spent > 0
    assert crew.seconds() == spent


async def test_a_worker_that_was_killed_is_replaced(crew: Crew, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_pause_seconds", 0.0)
    await crew.scale(2, {})
    crew.members[0].process.send_signal(signal.SIGKILL)
    sentence = await asyncio.wait_for(told.get(), SECONDS)
    await crew.scale(2, {})

    assert sentence == "worker-1 was killed (SIGKILL); another one takes its place"
    assert [member.name for member in crew.staying] == ["worker-2", "worker-3"]


async def test_a_worker_that_ends_by_itself_ends_the_run(tmp_path: Path, told: Told) -> None:
    crew = Crew([sys.executable, "-c", "raise SystemExit('no such module')"], os.environ, tmp_path, tmp_path)
    crew.fail = told.put_nowait
    await crew.scale(1, {})

    failure = await asyncio.wait_for(told.get(), SECONDS)

    assert str(failure) == "worker-1 ended with exit code 1: no such module"


async def test_a_worker_that_does_not_stop_is_killed(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "GRACE_SECONDS", 0.1)
    usual = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what we ignore, a process that we start ignores too
    try:
        await crew.scale(1, {})
    finally:
        signal.signal(signal.SIGTERM, usual)
    await crew.stop(0)

    assert crew.members[0].process.returncode == -signal.SIGKILL


async def test_a_producer_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "GRACE_SECONDS", 0.1)
    usual = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        producer = await local.started(["sleep", "600"], tmp_path, os.environ, tmp_path / "log")
    finally:
        signal.signal(signal.SIGTERM, usual)

    await asyncio.wait_for(local.ended(producer), SECONDS)

    assert producer.returncode == -signal.SIGKILL


# The check


def journal(*lines: str) -> list[str]:
    return [f"{line[0]}/0 {line[1:]}" for line in lines]


REGISTERED = journal("a1", "b1", "a2", "b2", "a3")


def test_order_is_kept_when_each_tube_keeps_its_own() -> None:
    verdict = judged(REGISTERED, journal("b1", "b2", "a1", "a2", "a3"))

    assert verdict == Verdict(5, 5, tubes=2, duplicates=0, missing=0, strange=0, breach=None)


def test_a_request_before_an_earlier_one_is_a_breach() -> None:
    verdict = judged(REGISTERED, journal("a1", "a3", "a2", "b1", "b2"))

    assert verdict.breach == "a/0 2 was handled after a/0 3, which was registered later"


def test_a_replay_is_no_breach_but_counted() -> None:
    verdict = judged(REGISTERED, journal("a1", "a2", "a1", "a2", "a3", "b1", "b2"))

    assert (verdict.breach, verdict.duplicates, verdict.missing) == (None, 2, 0)


def test_what_is_missing_and_what_is_strange_is_counted() -> None:
    verdict = judged(REGISTERED, journal("a1", "a3", "c1", "b1"))

    assert (verdict.breach, verdict.missing, verdict.strange) == (None, 2, 1)


def outcome(verdict: Verdict | None, *, waiting: int = 0, dead: int = 0) -> Outcome:
    return Outcome("n", 5, dead, waiting, 1.0, 1, 1.0, verdict)


def test_missing_requests_are_lost_unless_they_wait_or_died() -> None:
    verdict = judged(REGISTERED, journal("a1", "a3", "b1"))

    assert outcome(verdict).lost == 2
    assert outcome(verdict, waiting=1, dead=1).lost == 0


@pytest.mark.parametrize(
    "handled", [journal("a2", "a1", "a3", "b1", "b2"), journal("a1"), journal("a1", "a2", "a3", "b1", "b2", "c1")]
)
def test_a_broken_promise_is_no_success(handled: list[str]) -> None:
    assert not outcome(judged(REGISTERED, handled)).is_as_promised
    assert outcome(judged(REGISTERED, REGISTERED)).is_as_promised
