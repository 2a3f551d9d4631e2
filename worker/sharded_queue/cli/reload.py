"""`sharded-queue worker --reload`: a worker process that is drained and started again when a Python file changes."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from sharded_queue.errors import describe

try:
    from watchfiles import PythonFilter, awatch
except ModuleNotFoundError as error:
    raise click.ClickException(
        f"{error.name} is not installed; run pip install 'sharded-queue[reload]', or leave out --reload"
    ) from error

log = logging.getLogger("sharded_queue")
logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it counts the changes that we name
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def folders() -> list[Path]:
    """Where modules of a user are imported from."""
    named = [Path(folder).resolve() for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    return list(dict.fromkeys([Path.cwd(), *(folder for folder in named if folder.is_dir())]))


class Reloader:
    """
    Runs `sharded-queue worker` with *words*, one process after another: the next one starts when the last one has
    released its threads, and so with all changes until then.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._noticed = asyncio.Event()
        """A file has changed, or this process shall end."""
        self._is_stopping = False
        self._child: asyncio.subprocess.Process | None = None
        self._life, self._own_end = os.pipe()
        """The worker reads its end. It reaches the end of the pipe when this process ends, however it does."""

    async def run(self) -> int:
        """
        Serve until a signal comes; returns the exit code of the last worker.

        Raises:
            ClickException: the folders cannot be watched.
        """
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._end)
        watching = asyncio.create_task(self._watch())
        watching.add_done_callback(lambda _: self._noticed.set())
        code = 0
        try:
            while not self._is_stopping and not watching.done():
                self._noticed.clear()
                code = await self._serve()
                if not self._noticed.is_set():
                    log.error("the worker ended with exit code %d; the next change of a Python file starts it", code)
                    await self._noticed.wait()
        finally:
            failed = watching.done() and watching.exception()
            watching.cancel()
            await asyncio.wait([watching])
        if failed:
            raise click.ClickException(f"cannot watch {folders()[0]}: {describe(failed)}")
        return max(code, 0)

    async def _serve(self) -> int:
        """
        One worker process, until it ends or has to. Its process group is its own, or Ctrl-C would reach it twice. It
        writes no bytecode: Python would take that of a file for that of its next version, if both have the same size
        and were saved within one second.
        """
        words = [*self._words, "--stop-with", str(self._life)]
        command = [sys.executable, "-m", "sharded_queue", "worker", *words]
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        self._child = await asyncio.create_subprocess_exec(
            *command, process_group=0, env=environment, pass_fds=[self._life]
        )
        ending, noticing = asyncio.create_task(self._child.wait()), asyncio.create_task(self._noticed.wait())
        await asyncio.wait([ending, noticing], return_when=asyncio.FIRST_COMPLETED)
        noticing.cancel()
        if not ending.done():
            self._terminate()
        code = await ending
        self._child = None
        return code

    async def _watch(self) -> None:
        async for changes in awatch(*folders(), watch_filter=PythonFilter()):
            names = sorted({Path(path).name for _, path in changes})
            log.info("%s changed: the worker is drained and started again", ", ".join(names))
            self._noticed.set()

    def _end(self) -> None:
        """The first signal drains the worker, the second one aborts its batches."""
        if self._is_stopping:
            self._terminate()
        self._is_stopping = True
        self._noticed.set()

    def _terminate(self) -> None:
        if self._child:
            with suppress(ProcessLookupError):
                self._child.terminate()


def serve(words: Sequence[str]) -> int:
    return asyncio.run(Reloader(words).run())
