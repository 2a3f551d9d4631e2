"""The tutorial, as printed: its files, its commands and what they print, with a real Redis and real processes."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.pages import DOCS
from tools.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.timeout(300)]

TUTORIAL = DOCS / "tutorial.md"
FILE = re.compile(r"^`(\w+\.py)`:\n\n```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROMPT = "$ "
MARK = "status of the command:"

VARYING = [
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"\d[\d.]* (?:s|min|h)\b"), "AGE"),
    (re.compile(r"(?<=handled twice: )\d+"), "COUNT"),
    (re.compile(r"─+"), "RULE"),
    (re.compile(r" +"), " "),
    (re.compile(r" $", re.MULTILINE), ""),
]
"""What differs from run to run, and the width of columns with it."""


class Step(NamedTuple):
    command: str
    printed: str


def steps() -> list[Step]:
    """The commands of the page in their order, each with what it prints there."""
    text = "".join(CONSOLE.findall(TUTORIAL.read_text()))
    _, *parts = re.split(rf"^{re.escape(PROMPT)}", text, flags=re.MULTILINE)
    return [Step(*part.partition("\n")[::2]) for part in parts]


def comparable(text: str) -> str:
    for pattern, name in VARYING:
        text = pattern.sub(name, text)
    return text.strip()


class Shell:
    """A shell that stays open from command to command, as a person's terminal does."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def run(self, command: str) -> str:
        """What *command* writes to standard output; it has to succeed."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f'{command}\necho "{MARK} $?"\n')
        self.process.stdin.flush()
        printed = ""
        for line in self.process.stdout:
            if line.startswith(MARK):
                assert line == f"{MARK} 0\n", f"{command}: {printed}{line}"
                return printed
            printed += line
        raise AssertionError(f"the shell ended at {command}: {printed}")

    def end(self) -> None:
        """With whatever runs in its background: they are of its process group."""
        os.killpg(self.process.pid, 9)
        self.process.communicate()


@pytest.fixture
def shell(tmp_path: Path, own_redis: Callable[[], RedisServer]) -> Iterator[Shell]:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QUEUE_")}
    shell = Shell(tmp_path, environment | {"PATH": programs, "QUEUE_REDIS_ADDRESS": own_redis().address})
    yield shell
    shell.end()


def test_every_command_prints_what_the_page_says(shell: Shell, tmp_path: Path) -> None:
    for name, text in FILE.findall(TUTORIAL.read_text()):
        (tmp_path / name).write_text(text)

    commands = steps()
    assert len(commands) >= 20
    for step in commands:
        assert comparable(shell.run(step.command)) == comparable(step.printed), step.command


def test_all_code_of_the_page_is_a_file_or_a_command_or_marked() -> None:
    page = TUTORIAL.read_text()
    fences = re.findall(r"^```\w+\n", page, re.MULTILINE)
    marked = re.findall(r"^<!-- not run: [^>]+ -->\n```sh\n", page, re.MULTILINE)

    assert len(fences) == len(FILE.findall(page)) + len(CONSOLE.findall(page)) + len(marked)
