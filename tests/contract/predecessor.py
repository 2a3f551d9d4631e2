"""sharded-queue 0.2.10 from PyPI, in an environment of its own, and a program that uses it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.requirements import lack

PACKAGES = ("sharded-queue==0.2.10", "redis==8.1.0", "pydantic-settings==2.16.3", "python-dateutil==4.0.0")

PROGRAM = """
import asyncio, json, sys
from datetime import timedelta
from typing import NamedTuple

from redis.asyncio import Redis
from sharded_queue import Handler, Queue, Route, Worker
from sharded_queue.drivers import RedisLock, RedisStorage


class Note(NamedTuple):
    user: int
    text: str


class Job(Handler):
    @classmethod
    async def route(cls, *requests: Note) -> list[Route]:
        return [Route(request.user % 3, request.user % 2) for request in requests]

    async def handle(self, *requests: Note) -> None:
        print(json.dumps(requests), flush=True)


async def main(port, word, *numbers):
    redis = Redis(port=port, decode_responses=True)
    queue = Queue(RedisStorage(redis))
    notes = [Note(number % 6, str(number)) for number in map(int, numbers)]
    if word == "register":
        await queue.register(Job, *notes)
    elif word == "defer":
        await queue.register(Job, *notes[1:], defer=int(numbers[0]))
    elif word == "recur":
        await queue.register(Job, *notes, recurrent=timedelta(hours=1))
    else:
        await Worker(RedisLock(redis), queue).loop(1)
    await redis.aclose()


if __name__ == "__main__":
    import jobs  # so that its name is not that of a program

    asyncio.run(jobs.main(int(sys.argv[1]), *sys.argv[2:]))
"""


class Predecessor:
    """Runs its program on a Redis."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        (folder / "jobs.py").write_text(PROGRAM)

    def install(self) -> None:
        """Skips the test where PyPI cannot be reached; in CI that is an error."""
        subprocess.run([sys.executable, "-m", "venv", self.folder / "venv"], check=True)
        pip = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        lack(f"{PACKAGES[0]} cannot be installed from PyPI: {done.stderr[-500:]}")

    def run(self, port: int, word: str, *numbers: int) -> "subprocess.CompletedProcess[str]":
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("QUEUE_", "PYTHON"))}
        return subprocess.run(
            [self.python, "jobs.py", str(port), word, *map(str, numbers)],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
