"""
Runs pytest many times, each time in a fork of one process that has already imported what every run needs.

Most of the time of a small run goes into importing pytest, its plugins and redis-py. Nothing of the package under test
is imported before the fork, so each run tests the copy it is given.

As a program: reads a `Run` a line from standard input, and answers each with its exit status, in a line.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import NamedTuple

import pytest

PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout")
IMPORTED_AHEAD = ("redis.asyncio.cluster", "redis.asyncio.sentinel", "msgspec", "sortedcontainers")
UNDER_TEST = ("sharded_queue", "tests.contract", "tests.conftest")


class Run(NamedTuple):
    arguments: Sequence[str]
    path: Sequence[str]  # goes before everything else on the path of imports
    environment: Mapping[str, str]
    output: str


class Launcher:
    """Runs that have *folder* as their working folder, in a process that is started with the first of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def run(self, run: Run, timeout: float) -> tuple[int, str]:
        """
        The exit status of pytest, and what it printed.

        Raises:
            TimeoutError: it did not end within *timeout* seconds. The process is killed, and the next run gets another:
                a late answer would be taken for that of the next run.
        """
        self._process = self._process or self._start()
        requests, answers = self._process.stdin, self._process.stdout
        assert requests
        assert answers
        Path(run.output).touch()
        requests.write(json.dumps(run) + "\n")
        requests.flush()
        with DefaultSelector() as selector:
            selector.register(answers, EVENT_READ)
            if not selector.select(timeout):
                self.kill()
                raise TimeoutError(f"pytest did not end within {timeout} s:\n{Path(run.output).read_text()}")
        return int(answers.readline()), Path(run.output).read_text()

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def kill(self) -> None:
        """End the process, and the run that it waits for."""
        process, self._process = self._process, None
        if process:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@contextmanager
def launcher(folder: Path) -> Iterator[Launcher]:
    """A launcher whose runs have *folder* as their working folder."""
    runs = Launcher(folder)
    try:
        yield runs
    finally:
        runs.kill()


def main() -> None:
    plugins = [importlib.import_module(name) for name in PLUGINS]
    for name in IMPORTED_AHEAD:
        importlib.import_module(name)
    assert not any(name.startswith(UNDER_TEST) for name in sys.modules), "imported before the fork"
    for line in sys.stdin:
        run = Run(*json.loads(line))
        child = os.fork()
        if not child:
            os._exit(_test(run, plugins))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _test(run: Run, plugins: list[object]) -> int:
    with Path(run.output).open("wb") as output, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.update(run.environment)
    sys.path[:0] = run.path
    try:
        return int(pytest.main(list(run.arguments), plugins=plugins))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main()
