"""Processes beside a worker, for what would block its event loop."""

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Processes:
    """Started by the first call, and anew by the next call after one of them was killed."""

    def __init__(self, count: int | None = None) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown()

    async def run(self, function: Callable[P, T], *arguments: P.args, **_: P.kwargs) -> T:
        """
        Raises:
            BrokenProcessPool: one of the processes was killed, perhaps for lack of memory.
        """
        pool = self._pool = self._pool or self._started()
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
        except BrokenProcessPool:
            if self._pool is pool:  # unless another call has started them anew
                self._pool = None
            raise

    def _started(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")  # a fork would copy the worker's connections and locks
        return ProcessPoolExecutor(self._count, spawn, initializer=_end_with_the_worker)


def _end_with_the_worker() -> None:
    """A worker that gets SIGKILL cannot end its processes: so each of them watches it."""
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    worker = multiprocessing.parent_process()
    assert worker
    worker.join()
    os._exit(1)
