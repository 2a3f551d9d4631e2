"""A worker's port under clients that try to use it up: the figure is the memory of the process."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.cli_process import CliProcess
from tests.harness.http_flood import asked, bombs, drips, peak_mebibytes
from tools.redis_server import RedisServer

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(sys.platform != "linux", reason="the kernel's count of a process's memory: needs Linux"),
]

MEBIBYTES = 64
"""What a worker may need with 60 heads of 6.4 MB that do not end; at rest it needs about 50."""
JOBS = """
from sharded_queue import Handler

class Job(Handler):
    async def perform(self, *requests: int) -> None: ...
"""


@pytest.fixture
def worker(redis_server: RedisServer, tmp_path: Path) -> Iterator[CliProcess]:
    (tmp_path / "jobs.py").write_text(JOBS)
    environment = {"QUEUE_METRICS_PORT": "0", "QUEUE_REDIS_ADDRESS": f"127.0.0.1:{redis_server.port}"}
    program = CliProcess("worker", "jobs", place=tmp_path, environment=environment)
    program.line("serving")
    yield program
    program.kill()


def leave_descriptors(worker: CliProcess, count: int) -> None:
    subprocess.run(["prlimit", f"--nofile={count}:{count}", "--pid", str(worker.process.pid)], check=True)


def port_of(worker: CliProcess) -> int:
    found = re.search(r"port (\d+)", worker.line("on port"))
    assert found
    return int(found[1])


def test_sixty_heads_without_an_end_cost_a_worker_no_memory(worker: CliProcess) -> None:
    port = port_of(worker)
    answers = []
    with bombs(port, 60):
        answers += [asked(port) for _ in range(20)]
    answers.append(asked(port))

    peak = peak_mebibytes(worker.process.pid)
    print(f"peak {peak:.1f} MiB; slowest answer {max(seconds for _, seconds in answers):.3f} s")
    assert {text for text, _ in answers} == {"ok"}
    assert peak <= MEBIBYTES


def test_more_drips_than_a_worker_has_descriptors_keep_nobody_from_asking(worker: CliProcess) -> None:
    leave_descriptors(worker, 128)
    port = port_of(worker)
    with drips(port, 200):
        answers = [asked(port) for _ in range(20)]

    print(f"slowest answer {max(seconds for _, seconds in answers):.3f} s")
    assert {text for text, _ in answers} == {"ok"}
    assert "ERROR" not in worker.text


def test_drips_that_all_wait_to_be_accepted_keep_nobody_from_asking(worker: CliProcess) -> None:
    """As after a busy moment of the worker. The bound on connections must hold while they are accepted."""
    leave_descriptors(worker, 100)
    port = port_of(worker)
    worker.tell(signal.SIGSTOP)
    with drips(port, 100):
        worker.tell(signal.SIGCONT)
        answers = [asked(port) for _ in range(20)]

    assert {text for text, _ in answers} == {"ok"}
    assert "out of system resource" not in worker.text, worker.text
