"""The scripts of `bench/competitors` as processes: what is asked of them, and what they print."""

import asyncio
import json
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from bench.environments import PLACE, Competitor, program_of

How = Literal["single", "best", "default"]
RUN_SECONDS = 90.0
"""A run of register or handle that takes longer has failed."""
LINE_SECONDS = 30.0
"""The longest wait for what a job or a producer prints, unless the caller says otherwise."""


class ScriptFailed(RuntimeError):
    """A script of another queue ended in an error, or took too long."""


class Line(NamedTuple):
    """What a script printed of a job: *what* is `begin`, `end` or `sent`; *at* by the machine's monotonic clock."""

    what: str
    number: int
    at: float


@dataclass(frozen=True, slots=True)
class Script:
    """One queue, and the Redis it uses."""

    competitor: Competitor
    program: list[str]
    port: int

    async def report(self, action: str, how: How, number: int, threads: int) -> dict[str, float]:
        """Run `register` or `handle` to its end."""
        async with self.started(action, how, number, threads, errors=PIPE) as process:
            try:
                async with asyncio.timeout(RUN_SECONDS):
                    printed, errors = await process.communicate()
            except TimeoutError:
                raise ScriptFailed(f"{self.competitor.name}: {action} took over {RUN_SECONDS:g} s") from None
        if process.returncode:
            raise ScriptFailed(f"{self.competitor.name}: {action} failed:\n{errors.decode()[-2000:]}")
        report: dict[str, float] = json.loads(printed.splitlines()[-1])
        return report

    @asynccontextmanager
    async def serving(self, how: How, milliseconds: int) -> AsyncIterator["Talk"]:
        """A worker whose jobs last that long, killed at the end."""
        async with self.started("serve", how, milliseconds, 1) as process:
            yield Talk(self.competitor.name, process)

    @asynccontextmanager
    async def producing(self, how: How) -> AsyncIterator["Talk"]:
        async with self.started("produce", how, 1, 1) as process:
            yield Talk(self.competitor.name, process)

    @asynccontextmanager
    async def started(
        self, action: str, how: How, number: int, threads: int, errors: int = DEVNULL
    ) -> AsyncIterator[Process]:
        """The process leads a session, all of which is killed at the end: some queues start processes."""
        words = [*self.program, action, str(self.port), how, str(number), str(threads)]
        folder = self.competitor.folder if self.competitor.is_node else PLACE
        process = await asyncio.create_subprocess_exec(
            *words, stdin=PIPE, stdout=PIPE, stderr=errors, cwd=folder, env=surroundings(), start_new_session=True
        )
        try:
            yield process
        finally:
            kill(process)
            await process.wait()
            if process.stdin:
                process.stdin.close()


class Talk:
    """The lines of a worker or of a producer."""

    def __init__(self, name: str, process: Process) -> None:
        self.name, self.process = name, process

    async def line(self, seconds: float = LINE_SECONDS) -> Line:
        """
        Raises:
            ScriptFailed: the process has ended, or printed nothing for *seconds*.
        """
        assert self.process.stdout
        try:
            async with asyncio.timeout(seconds):
                while words := await self.process.stdout.readline():
                    if (line := parsed(words.decode())) is not None:
                        return line
        except TimeoutError:
            raise ScriptFailed(f"{self.name} printed nothing for {seconds:g} s") from None
        raise ScriptFailed(f"{self.name} has ended")

    async def until(self, what: str, seconds: float = LINE_SECONDS) -> Line:
        while (line := await self.line(seconds)).what != what:
            continue
        return line

    async def send(self, number: int) -> Line:
        """Let a producer register one request. Returns when it began to."""
        assert self.process.stdin
        self.process.stdin.write(f"{number}\n".encode())
        return await self.until("sent")

    async def kill(self) -> None:
        """As `kill -9` of a pod: with all processes that it started."""
        kill(self.process)
        await self.process.wait()


def parsed(words: str) -> Line | None:
    """None for what a queue prints of its own accord."""
    match words.split():
        case ["begin" | "end" | "sent" as what, number, at] if number.isdigit() and at.isdigit():
            return Line(what, int(number), int(at) / 1e9)
    return None


def kill(process: Process) -> None:
    """With its whole session: a process that rq forks for a job leads a group of its own."""
    for each in session(process.pid) or [process.pid]:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def session(leader: int) -> list[int]:
    """The processes of a session, as far as the system lists them under `/proc`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):
            if os.getsid(int(folder.name)) == leader:
                found.append(int(folder.name))
    return found


def surroundings() -> dict[str, str]:
    """The environment without this project's settings: each script sets its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("QUEUE_")}


def scripts(competitors: list[Competitor], port: int) -> dict[Competitor, Script]:
    """Those whose language is here."""
    programs = {each: program_of(each) for each in competitors}
    return {each: Script(each, program, port) for each, program in programs.items() if program}
