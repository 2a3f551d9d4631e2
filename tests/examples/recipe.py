"""An example as a reader runs it: in its folder, with the commands that its README prints."""

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from sharded_queue import RedisCoordinator
from sharded_queue.tube import Shard
from tests.harness.cli_process import CommandProcess
from tools.redis_server import Ask, RedisServer

EXAMPLES = Path(__file__).parents[2] / "examples"
INTERRUPTED = Path(__file__).parent / "interrupted.py"
PROGRAMS = Path(sys.executable).parent
SECONDS = 60

Changes = Mapping[str, Mapping[str, str]]


class Recipe:
    """
    What it starts, it ends. *copy*: a folder for a copy of the example, with *changes* to its files: what to replace by
    what.
    """

    def __init__(
        self,
        name: str,
        redis: RedisServer,
        *,
        copy: Path | None = None,
        changes: Changes | None = None,
        **environment: str,
    ) -> None:
        self.name = name
        self.readme = (EXAMPLES / name / "README.md").read_text()
        self.folder = changed(EXAMPLES / name, copy, changes or {}) if copy else EXAMPLES / name
        self.environment = {
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "QUEUE_REDIS_ADDRESS": redis.address,
            "QUEUE_METRICS_PORT": "0",
            **environment,
        }
        self._ending = ExitStack()

    def __enter__(self) -> "Recipe":
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    @property
    def commands(self) -> list[str]:
        """Those of the README, without comments. The first one goes to the folder."""
        blocks = re.findall(r"^```sh\n(.*?)^```", self.readme, re.DOTALL | re.MULTILINE)
        first, *rest = [re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines()]
        assert first == f"cd examples/{self.name}"
        return rest

    def follow(self) -> Iterator[CommandProcess]:
        """Type the commands one after another; those with an `&` go on in the background."""
        for command in self.commands:
            started = self.start(command.removesuffix("&").strip())
            if not command.endswith("&"):
                assert started.ended() == 0, started.text
            yield started

    def start(self, command: str, **environment: str) -> CommandProcess:
        words = ["bash", "-c", f"exec env {command}"]  # env: the command may begin with variables
        started = CommandProcess(words, place=self.folder, environment=self.environment | environment)
        self._ending.callback(started.kill)
        return started

    def run(self, command: str, **environment: str) -> str:
        started = self.start(command, **environment)
        assert started.ended() == 0, started.text
        return started.text

    def interrupted(self, how: str, function: str, command: str, **environment: str) -> CommandProcess:
        """`KILL before accounts.book`: a program that gets a signal as it calls a function for the first time."""
        module = command.replace("sharded-queue ", "sharded_queue ", 1)
        return self.start(f"python {INTERRUPTED} {how} {function} {module}", **environment)


def changed(example: Path, copy: Path, changes: Changes) -> Path:
    shutil.copytree(example, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, replacements in changes.items():
        text = (copy / name).read_text()
        for old, new in replacements.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (copy / name).write_text(text)
    return copy


def stopped(program: CommandProcess) -> None:
    """Wait until it was stopped by SIGSTOP."""
    deadline = time.monotonic() + SECONDS
    while not (ended := os.waitpid(program.process.pid, os.WUNTRACED | os.WNOHANG))[0]:
        assert time.monotonic() < deadline, f"it was never stopped, but said:\n{program.text}"
        time.sleep(0.01)
    assert os.WIFSTOPPED(ended[1]), program.text


def evict(ask: Ask, handler: str, worker: str) -> None:
    """Free the threads of a worker now, as the operator does when a pod is gone, in place of waiting for its lease."""
    ask(lambda redis: RedisCoordinator(redis).evict(Shard(handler), [worker]))


def killed(program: CommandProcess) -> None:
    assert program.process.wait(SECONDS) == -9, program.text
