"""
A queue for code without an event loop: Django, Flask, scripts.

The guarantees are those of `Queue`, because a `Queue` does the work: in an event loop of its own, in an OS thread
of its own. The caller's OS thread waits for the answer.
"""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from sharded_queue import os_threads
from sharded_queue.backends.redis.client import RedisOptions, close, connect
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.errors import ShardedQueueError
from sharded_queue.handler import Handler, R
from sharded_queue.os_threads import OwnLoop
from sharded_queue.queue.middleware import Middleware, checked
from sharded_queue.queue.queue import Queue
from sharded_queue.queue.receipts import Receipt, Receipts
from sharded_queue.state import Delayed, Upcoming
from sharded_queue.storage import Resharded
from sharded_queue.tube import Keys

CLOSED = "this SyncQueue is closed: make another one"

T = TypeVar("T")
Call = Callable[[Queue], Coroutine[Any, Any, T]]

_of_the_parent: list["_Session"] = []
"""Sessions inherited by `fork`. They are kept, because to collect one would close what belongs to the parent."""


class SyncQueue:
    """
    Registers requests with handlers, from code that is not async. Any number of OS threads may share one.

    *options*: where Redis is, by default as the settings say. *keys*: prefixes of the keys, by default those of the
    settings. *middleware*: as of a `Queue`. The first call connects. After a `fork` the child connects for itself, so
    make the queue once, at import time, also where a server forks its processes later. The queue closes when the
    interpreter exits.

    `Handler.route`, `Handler.identity` and middleware run in the event loop of the queue, and must not block it.

    Raises (by each method):
        ShardedQueueError: the queue is closed, or is called in an event loop, which it would block.
    """

    def __init__(
        self,
        options: RedisOptions | None = None,
        *,
        keys: Keys | None = None,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        self._options, self._keys, self._middleware = options, keys, checked(middleware)
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._is_closed = False
        _queues.add(self)

    def register(
        self,
        handler: type[Handler[R]],
        *requests: R,
        headers: Mapping[str, str] | None = None,
        delay_seconds: float = 0.0,
        deduplicate_seconds: float | None = None,
        identities: Sequence[str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Receipts:
        """As `Queue.register`."""
        return self._run(
            lambda queue: queue.register(
                handler,
                *requests,
                headers=headers,
                delay_seconds=delay_seconds,
                deduplicate_seconds=deduplicate_seconds,
                identities=identities,
                timeout_seconds=timeout_seconds,
            )
        )

    def schedule(
        self,
        handler: type[Handler[R]],
        request: R,
        *,
        name: str,
        every_seconds: float | None = None,
        cron: str | None = None,
        timezone: str | None = None,
        headers: Mapping[str, str] | None = None,
        skip_if_waiting: bool = False,
    ) -> datetime:
        """As `Queue.schedule`."""
        return self._run(
            lambda queue: queue.schedule(
                handler,
                request,
                name=name,
                every_seconds=every_seconds,
                cron=cron,
                timezone=timezone,
                headers=headers,
                skip_if_waiting=skip_if_waiting,
            )
        )

    def schedules(self, handler: type[Handler]) -> list[Upcoming]:
        """As `Queue.schedules`."""
        return self._run(lambda queue: queue.schedules(handler))

    def unschedule(self, handler: type[Handler], name: str) -> bool:
        """As `Queue.unschedule`."""
        return self._run(lambda queue: queue.unschedule(handler, name))

    def delayed(self, handler: type[Handler], count: int = 100) -> list[Delayed]:
        """As `Queue.delayed`."""
        return self._run(lambda queue: queue.delayed(handler, count))

    def cancel(self, *requests: Receipt | Delayed) -> list[Receipt | Delayed]:
        """As `Queue.cancel`."""
        return self._run(lambda queue: queue.cancel(*requests))

    def reshard(self, handler: type[Handler], threads: int) -> list[Resharded]:
        """As `Queue.reshard`."""
        return self._run(lambda queue: queue.reshard(handler, threads))

    def close(self) -> None:
        """Let running calls end, close the connections and end the OS thread. Closing again is harmless."""
        with self._lock:
            session, self._session, self._is_closed = self._session, None, True
        if session:
            self._ending.detach()
            session.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Call[T]) -> T:
        if _is_in_event_loop():
            raise ShardedQueueError(
                "SyncQueue was called in an event loop, which it would block: await a Queue instead"
            )
        return self._open().run(call)

    def _open(self) -> "_Session":
        with self._lock:
            if self._is_closed:
                raise ShardedQueueError(CLOSED)
            if self._session is None:
                self._session = _Session(self._options, self._keys, self._middleware)
                self._ending = weakref.finalize(self, self._session.end)
            return self._session

    def _forget(self) -> None:
        """In a child after `fork`: the OS thread stayed with the parent, and the connections belong to the parent."""
        self._lock = threading.Lock()  # another OS thread of the parent may hold the inherited one
        if self._session:
            self._ending.detach()
            _of_the_parent.append(self._session)
        self._session = None


def _forget_all() -> None:
    for queue in list(_queues):
        queue._forget()


_queues: "weakref.WeakSet[SyncQueue]" = weakref.WeakSet()
os.register_at_fork(after_in_child=_forget_all)


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Session:
    """A queue on Redis, and the event loop that it runs in, in an OS thread of its own."""

    def __init__(self, options: RedisOptions | None, keys: Keys | None, middleware: Sequence[Middleware]) -> None:
        os_threads.check_server()
        self._client = connect(options)
        self._queue = Queue(RedisStorage(self._client, keys=keys), middleware=middleware)
        self._loop = OwnLoop()
        self._lock = threading.Lock()
        self._is_ended = False
        self._has_stopped = os_threads.make_flag()
        os_threads.start(self._serve, "sharded-queue")

    def _serve(self) -> None:
        self._loop.run_forever()
        self._loop.close()
        self._has_stopped.set()

    def run(self, call: Call[T]) -> T:
        """Run *call* in the event loop, in a copy of the caller's context, which has the caller's trace."""
        with self._lock:
            if self._is_ended:
                raise ShardedQueueError(CLOSED)
            answer = _Answer(self._loop, call(self._queue))
        return answer.wait()

    def end(self) -> None:
        with self._lock:
            self._is_ended = True
        _Answer(self._loop, self._finish()).wait()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._has_stopped.wait()

    async def _finish(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*calls, return_exceptions=True)
        await close(self._client)


class _Answer(Generic[T]):
    """
    Of a coroutine that runs in an event loop of another OS thread.

    Not a future of `concurrent.futures`: its lock is for the greenlets of one OS thread, where there are greenlets.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        self._loop, self._coroutine = loop, coroutine
        self._is_there = os_threads.make_flag()
        loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(lambda _: self._is_there.set())

    def wait(self) -> T:
        try:
            self._is_there.wait()
        except BaseException:  # Ctrl-C, or the time-out of a greenlet
            with suppress(RuntimeError):  # the queue was closed meanwhile
                self._loop.call_soon_threadsafe(self._cancel)
            raise
        if self._task.cancelled():
            raise CancelledError
        return self._task.result()

    def _cancel(self) -> None:
        self._task.cancel()
