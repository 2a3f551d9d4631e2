"""Worker processes in place of pods."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sharded_queue_operator.local import workers
from sharded_queue_operator.local.workers import LocalWorkers, environment
from sharded_queue_operator.resource import file as manifest

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[3] / "examples" / "notifications" / "shardedqueue.yaml"
SECONDS = 10


def test_processes_get_what_a_pod_would_get(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QUEUE_WORKER_BATCH_SIZE", "77")
    monkeypatch.setenv("QUEUE_DEFAULT_PRIORITY", "3")
    resource, _ = manifest.read(EXAMPLE)

    given = environment(resource, tmp_path, "journal")

    assert given["QUEUE_WORKER_BATCH_SIZE"] == "16"
    assert given["QUEUE_WORKER_HANDLERS"] == "notifications.NotifyHandler"
    assert given["QUEUE_WORKER_CONCURRENCY"] == "1"
    assert "QUEUE_DEFAULT_PRIORITY" not in given
    assert given["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)


Told = asyncio.Queue[object]


@pytest.fixture
def told() -> Told:
    return asyncio.Queue()


def started(program: str, folder: Path, told: Told) -> LocalWorkers:
    """Workers that run a line of Python."""
    command = [sys.executable, "-c", program]
    return LocalWorkers(command, os.environ, folder, folder, on_kill=told.put_nowait, on_failure=told.put_nowait)


@pytest.fixture
async def local(tmp_path: Path, told: Told) -> AsyncIterator[LocalWorkers]:
    made = started("import time; time.sleep(600)", tmp_path, told)
    yield made
    await made.stop(0)


async def test_workers_that_are_let_go_leave(local: LocalWorkers) -> None:
    await local.scale(4)
    await local.scale(2, {"worker-2", "worker-4"})

    assert [worker.name for worker in local.staying] == ["worker-1", "worker-3"]


async def test_leaving_workers_count_as_running_until_they_are_gone(local: LocalWorkers) -> None:
    await local.scale(2)
    await local.scale(0, {"worker-1", "worker-2"})
    assert (len(local.running), len(local.staying), local.most) == (2, 0, 2)
    await local.stop(SECONDS)

    assert local.running == []
    spent = local.seconds()
    assert spent > 0
    assert local.seconds() == spent


async def test_a_worker_that_was_killed_is_replaced(
    local: LocalWorkers, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "FIRST_PAUSE_SECONDS", 0.0)
    await local.scale(2)
    local.all[0].process.send_signal(signal.SIGKILL)
    sentence = await asyncio.wait_for(told.get(), SECONDS)
    await local.scale(2)

    assert sentence == "worker-1 was killed (SIGKILL); another one takes its place"
    assert [worker.name for worker in local.staying] == ["worker-2", "worker-3"]


async def test_a_worker_that_ends_by_itself_ends_the_run(tmp_path: Path, told: Told) -> None:
    local = started("raise SystemExit('no such module')", tmp_path, told)
    await local.scale(1)

    failure = await asyncio.wait_for(told.get(), SECONDS)

    assert str(failure) == "worker-1 ended with exit code 1: no such module"


async def test_a_worker_that_does_not_stop_is_killed(local: LocalWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE_SECONDS", 0.1)
    usual = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what we ignore, a process that we start ignores too
    try:
        await local.scale(1)
    finally:
        signal.signal(signal.SIGTERM, usual)
    await local.stop(0)

    assert local.all[0].process.returncode == -signal.SIGKILL
