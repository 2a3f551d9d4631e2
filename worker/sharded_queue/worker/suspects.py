"""
Tries requests that a worker died with, so that one that kills its workers harms no other request.

Such a *suspect* is handled beside the threads of others, but one suspect at a time. The death that would send it to the
dead letters must be its own fault, so its *last try* is alone. The worker begins no other call, leaves its other
threads to other workers, waits until its running calls have ended, and notes in the storage that it is alone. Only then
does the last try begin.

Nothing waits for a suspect for ever. A try that takes longer than a turn is no longer one at a time, or alone. A last
try that finds no quiet within a turn is put off, for another worker or for a later moment. Both times double each time
that they were too short. A worker leaves as much time to others as its last tries take.
"""

import asyncio
import random
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol

from sharded_queue.errors import LeaseLost, StorageUnavailable
from sharded_queue.handler import os_thread_calls
from sharded_queue.settings import settings

LONGEST_WAIT_SECONDS = 1.0
"""A suspect that has waited this long for its try goes to another worker, or comes back later."""
MOST_DOUBLINGS = 16
"""A turn of 30 s is 22 days then."""


class Tried(Protocol):
    """What a try needs of a lane."""

    @property
    def called_since(self) -> float | None: ...

    async def isolate(self, is_alone: bool) -> bool:
        """Note whether the worker handles nothing but the request of this lane. False: the lease was lost."""


class Trier(Protocol):
    """What tries need of their worker."""

    @property
    def lanes(self) -> Collection[Tried]:
        """All lanes that the worker has."""

    def bind_again(self) -> None:
        """Calls may begin again, of threads that were left to other workers too."""


class Suspects:
    """The tries of one worker."""

    def __init__(self, worker: Trier) -> None:
        self._worker = worker
        self.is_closed = False
        """Whether a last try waits for quiet, or runs: no other call may begin, and no thread is taken."""
        self._is_stopped = False
        self._trying: Tried | None = None
        self._line: dict[Tried, asyncio.Future[None]] = {}
        self._watchers: set[asyncio.Future[None]] = set()
        self._ending: asyncio.Task[None] | None = None
        self._closed_at = self._not_before = 0.0
        self._vain_waits = 0

    @property
    def waiting(self) -> int:
        """How many lanes stand in line for their tries. They take no room from others."""
        return len(self._line)

    def is_trying(self, lane: Tried) -> bool:
        return self._trying is lane

    async def admit(self, lane: Tried, crashes: int) -> float | None:
        """
        Wait until *lane* may call its handler with a request that *crashes* workers died with. Returns None, or for how
        many seconds to put its thread off instead.

        Raises:
            LeaseLost: the lease was lost.
            StorageUnavailable: it could not be noted that the try is alone.
        """
        if crashes == 0 or self._is_stopped:
            return 0.0
        last_try = settings.crash_limit - 1
        if crashes >= last_try and time.monotonic() < self._not_before:
            return self._later()
        if self._trying and not await self._stand_in_line(lane):
            return 0.0 if self._is_stopped else self._later()
        self._trying = lane
        if crashes < last_try:
            self._ending = asyncio.create_task(self._end_late(lane, settings.worker_turn, is_alone=False))
            return None
        return await self._isolate(lane, settings.worker_turn * 2 ** min(MOST_DOUBLINGS, crashes - last_try))

    def leave(self, lane: Tried) -> None:
        """The try of *lane* is over, and settled: the next suspect has its turn."""
        if self._trying is lane:
            self._pass_on()

    def notice(self) -> None:
        """A lane has ended or has nothing to handle: perhaps the last one that a try waits for."""
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_result(None)

    async def wait_until_open(self, lane: Tried) -> None:
        """For what *lane* calls outside of a try, which cannot be put off."""
        self.notice()
        while self.is_closed and self._trying is not lane:
            await self._noticed()

    def stop(self) -> None:
        """The worker ends. Suspects that wait are for other workers."""
        self._is_stopped = True
        for granted in self._line.values():
            if not granted.done():
                granted.set_result(None)
        self.notice()

    def _later(self) -> float:
        seconds = min(LONGEST_WAIT_SECONDS, max(0.0, self._not_before - time.monotonic()) or LONGEST_WAIT_SECONDS)
        return max(0.01, seconds * random.uniform(0.5, 1.0))  # noqa: S311 - spreads suspects, no secret

    async def _stand_in_line(self, lane: Tried) -> bool:
        """Whether the turn of *lane* came. False: too many stand in line, or for too long, or the worker ends."""
        if len(self._line) >= settings.worker_concurrency:
            return False
        granted = self._line[lane] = asyncio.get_running_loop().create_future()
        self.notice()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                    await granted
        finally:
            self._line.pop(lane, None)
        return self._trying is lane

    def _pass_on(self) -> None:
        if self._ending:
            self._ending.cancel()
        self._trying = self._ending = None
        if self.is_closed:
            self.is_closed = False
            self._not_before = 2 * time.monotonic() - self._closed_at
            self._worker.bind_again()
        for lane, granted in self._line.items():
            if not granted.done():
                self._trying = lane
                granted.set_result(None)
                break
        self.notice()

    async def _isolate(self, lane: Tried, seconds: float) -> float | None:
        """Wait until *lane* is alone, and keep it alone for *seconds*. Returns what `admit` does."""
        if time.monotonic() < self._not_before:
            self._pass_on()
            return self._later()
        self.is_closed, self._closed_at = True, time.monotonic()
        try:
            async with asyncio.timeout(settings.worker_turn * 2 ** min(MOST_DOUBLINGS, self._vain_waits)):
                await self._quiet(lane)
        except TimeoutError:
            self._vain_waits += 1
            self._pass_on()
            return self._later()
        self._vain_waits = 0
        if self._is_stopped:
            self._pass_on()
            return 0.0
        if not await lane.isolate(True):
            raise LeaseLost("its lease was over before its last try")
        self._ending = asyncio.create_task(self._end_late(lane, seconds, is_alone=True))
        return None

    async def _quiet(self, lane: Tried) -> None:
        """Wait until no call but one of *lane* runs, in no OS thread either."""
        notice, watched = self._notice_from_os_thread(asyncio.get_running_loop()), set[Future[Any]]()
        while not self._is_stopped:
            is_called = any(other.called_since is not None for other in self._worker.lanes if other is not lane)
            left = set() if is_called else set(os_thread_calls())
            if not is_called and not left:
                return
            for call in left - watched:
                call.add_done_callback(notice)
            watched |= left
            await self._noticed()

    def _notice_from_os_thread(self, loop: asyncio.AbstractEventLoop) -> Callable[[object], None]:
        def notice(_: object) -> None:
            with suppress(RuntimeError):  # the loop may have ended
                loop.call_soon_threadsafe(self.notice)

        return notice

    async def _noticed(self) -> None:
        watcher = asyncio.get_running_loop().create_future()
        self._watchers.add(watcher)
        try:
            await watcher
        finally:
            self._watchers.discard(watcher)

    async def _end_late(self, lane: Tried, seconds: float, is_alone: bool) -> None:
        """Others wait for a try no longer than *seconds*."""
        await asyncio.sleep(seconds)
        while is_alone:
            try:
                await lane.isolate(False)
                break
            except StorageUnavailable:
                await asyncio.sleep(settings.coordinator_delay)
        self._ending = None
        self.leave(lane)
