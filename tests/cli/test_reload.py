"""`sharded-queue worker --reload`: real processes, real files, and a real queue behind them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharded_queue import Handler, SyncQueue, settings
from tests.harness.cli_process import CliProcess
from tools.redis_server import Ask

pytestmark = pytest.mark.redis
MOMENT = 1_700_000_000

JOBS = """
import asyncio
from pathlib import Path

from sharded_queue import Handler

class Job(Handler):
    name = "jobs.Job"

    async def perform(self, *requests: str):
        print("VERSION begins", *requests, flush=True)
        while "slow" in requests and not Path("go").exists():
            await asyncio.sleep(0.01)
        print("VERSION handled", *requests, flush=True)
"""


class Job(Handler):
    name = "jobs.Job"

    async def perform(self, *requests: str) -> None: ...


class Module:
    """A module on disk, and a worker that reloads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.save("one")
        environment = {
            "QUEUE_METRICS_PORT": "0",
            "QUEUE_REDIS_ADDRESS": settings.redis_address[0],
            "PYTHONPATH": "",
            "PYTHONDONTWRITEBYTECODE": "",
        }
        self.worker = CliProcess("worker", "--reload", "jobs", place=folder, environment=environment)

    def save(self, version: str, text: str = JOBS) -> None:
        """As editors save: a file beside it takes its place. All versions seem to be saved within one second."""
        (self.folder / "jobs.py.new").write_text(text.replace("VERSION", version))
        os.utime(self.folder / "jobs.py.new", (MOMENT, MOMENT))
        (self.folder / "jobs.py.new").rename(self.folder / "jobs.py")

    def printed(self) -> list[str]:
        return [line for line in self.worker.said if re.match(r"\w+ (begins|handled) ", line)]

    def ended(self) -> int:
        self.worker.tell(signal.SIGTERM)
        return self.worker.ended()


@pytest.fixture
def queue(ask: Ask) -> Iterator[SyncQueue]:
    with SyncQueue() as queue:
        yield queue


@pytest.fixture
def module(ask: Ask, tmp_path: Path) -> Iterator[Module]:
    module = Module(tmp_path)
    yield module
    if module.worker.process.poll() is None:
        module.ended()
    module.worker.kill()


def test_a_saved_file_is_served_by_a_new_process(module: Module, queue: SyncQueue) -> None:
    queue.register(Job, "a")
    module.worker.line("one handled a")
    module.save("two")
    module.worker.line("jobs.py changed")
    module.worker.line("stopped after 1 request")
    queue.register(Job, "b")
    module.worker.line("two handled b")

    assert module.ended() == 0
    assert module.printed() == ["one begins a", "one handled a", "two begins b", "two handled b"]


def test_a_running_batch_is_finished_first_and_a_change_meanwhile_counts(
    module: Module, queue: SyncQueue, tmp_path: Path
) -> None:
    queue.register(Job, "slow")
    module.worker.line("one begins slow")
    module.save("two")
    module.worker.line("finishing what 1 thread began")
    module.save("three")
    module.worker.line("jobs.py changed", times=2)
    (tmp_path / "go").touch()
    module.worker.line("one handled slow")
    queue.register(Job, "b")
    module.worker.line("three handled b")

    assert module.ended() == 0
    assert module.printed() == ["one begins slow", "one handled slow", "three begins b", "three handled b"]


def test_a_mistake_is_shown_and_the_next_save_puts_it_right(module: Module, queue: SyncQueue) -> None:
    module.worker.line("serving jobs.Job")
    module.save("two", JOBS + "\nthis is no python")
    module.worker.line("SyntaxError")
    module.worker.line("the worker ended with exit code 2; the next change of a Python file starts it")
    module.save("three")
    queue.register(Job, "a")
    module.worker.line("three handled a")

    assert module.ended() == 0


def test_it_ends_while_it_waits_for_a_save(module: Module) -> None:
    module.worker.line("serving jobs.Job")
    module.save("two", "1 / 0")
    module.worker.line("the next change of a Python file starts it")
    module.worker.tell(signal.SIGINT)

    assert module.worker.ended() == 2


def test_a_worker_ends_as_by_sigterm_when_its_reloader_is_killed(
    module: Module, queue: SyncQueue, tmp_path: Path
) -> None:
    queue.register(Job, "slow")
    module.worker.line("one begins slow")
    module.worker.tell(signal.SIGKILL)
    module.worker.line("finishing what 1 thread began")
    (tmp_path / "go").touch()
    module.worker.line("one handled slow")
    module.worker.line("stopped after 1 request")

    assert module.worker.ended() == -signal.SIGKILL


def test_without_watchfiles_it_says_what_to_install(tmp_path: Path) -> None:
    script = "import sys; sys.modules['watchfiles'] = None; from sharded_queue.cli.program import main; main()"
    words = [sys.executable, "-c", script, "worker", "--reload", "jobs"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert "run pip install 'sharded-queue[reload]'" in done.stderr
