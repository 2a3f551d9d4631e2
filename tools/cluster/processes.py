"""
Processes that outlive the process that started them, and are found again by pid *and* command line.

A pid may belong to another process by now. So the command line is compared before a signal is sent, and the signal goes
through a pidfd, which cannot move to another process in between.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

RECORD_AND_RUN = 'echo $$ >"$1"; shift; exec "$@"'
"""The process records its own pid before it becomes the program: no process stays unknown, whichever is killed when."""


class Processes:
    """
    The processes of one state folder, with their pids in `pids/` and their output in `logs/`.
    """

    def __init__(self, state: Path) -> None:
        self.pids = state / "pids"
        self.logs = state / "logs"

    def start(self, name: str, *command: str | Path) -> None:
        for folder in (self.pids, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        argv = [str(part) for part in command]
        (self.pids / f"{name}.json").write_text(json.dumps(argv))
        with self.log(name).open("ab") as log:
            # setsid: neither Ctrl-C nor the end of the caller ends the cluster, and its parent is not Python.
            subprocess.run(
                ["setsid", "--fork", "/bin/sh", "-c", RECORD_AND_RUN, "sh", self.pids / f"{name}.pid", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )

    def stop(self, name: str, *, seconds: float = 10) -> None:
        """
        End one process and wait until it is gone. A second call and an unknown name do nothing.
        """
        with self._opened(name) as process:
            if process is not None:
                end(process, seconds=seconds)
        for kind in ("pid", "json"):
            (self.pids / f"{name}.{kind}").unlink(missing_ok=True)

    def alive(self, name: str) -> bool:
        with self._opened(name) as process:
            return process is not None

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def names(self) -> list[str]:
        return sorted(path.stem for path in self.pids.glob("*.json"))

    @contextmanager
    def _opened(self, name: str) -> Iterator[int | None]:
        try:
            argv = json.loads((self.pids / f"{name}.json").read_text())
            pid = int((self.pids / f"{name}.pid").read_text())
        except (OSError, ValueError):  # never started, or killed while it wrote its pid
            yield None
            return
        with opened(pid, lambda line: line[-len(argv) :] == argv) as process:
            yield process


class Children:
    """
    Processes that end with the process that started them, however it ends, where Linux can see to that.
    """

    def __init__(self, state: Path) -> None:
        self.logs = state / "logs"
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str | Path) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        with_us = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with self.log(name).open("ab") as log:
            self._children[name] = subprocess.Popen(
                [*with_us, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )

    def stop(self, *, seconds: float = 10) -> None:
        """
        End all of them, the last one first, and wait until they are gone.
        """
        for child in reversed(self._children.values()):
            child.terminate()
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


@contextmanager
def opened(pid: int, is_ours: Callable[[list[str]], bool]) -> Iterator[int | None]:
    """
    A pidfd of a running process if its command line is ours, otherwise None.
    """
    try:
        process = os.pidfd_open(pid)
    except (ProcessLookupError, ValueError):
        yield None
        return
    try:
        yield process if is_ours(command_line(pid)) else None
    finally:
        os.close(process)


def command_line(pid: int) -> list[str]:
    """
    The arguments that a process was started with; empty if it is gone or waits to be reaped.
    """
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def end(process: int, *, seconds: float) -> None:
    """
    Ask the process of a pidfd to stop, and kill it if it still runs after *seconds*. Returns when it is gone.
    """
    gone = select.poll()
    gone.register(process, select.POLLIN)
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10)):
        try:
            signal.pidfd_send_signal(process, number)
        except ProcessLookupError:
            return
        if gone.poll(patience * 1000):
            return


def poll_until(probe: Callable[[], T], what: str, *, seconds: float = 30, every: float = 0.05) -> T:
    """
    The first true answer of *probe*, asked until the deadline. Errors of a probe count as "not yet".
    """
    deadline = time.monotonic() + seconds
    problem: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if answer := probe():
                return answer
        except (OSError, RuntimeError) as error:
            problem = error
        time.sleep(every)
    raise TimeoutError(f"{what}: not after {seconds:.0f} s" + (f" ({problem})" if problem else ""))
