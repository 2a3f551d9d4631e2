"""
A queue for code without an event loop: Django, Flask, scripts.

The guarantees are those of `Queue`, because a `Queue` does the work: in an event loop of its own, in an OS thread
of its own. The caller's OS thread waits for the answer. `SyncAdmin` does the same for `Admin`.
"""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from sharded_queue import os_threads
from sharded_queue.backends.redis.client import RedisOptions, close, connect
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.errors import ShardedQueueError
from sharded_queue.os_threads import OwnLoop
from sharded_queue.queue.middleware import Middleware, checked
from sharded_queue.queue.queue import Queue
from sharded_queue.tube import Keys

Q = TypeVar("Q")
"""What does the work, such as a `Queue`."""
T = TypeVar("T")
P = ParamSpec("P")

_of_the_parent: list["_Session[Any]"] = []
"""Sessions inherited by `fork`. They are kept, because to collect one would close what belongs to the parent."""


class Blocking(Generic[Q]):
    """
    What does for code that is not async what a *Q* does, on a Redis of its own. Any number of OS threads may share one.

    The first call connects. After a `fork` the child connects for itself. It closes when the interpreter exits.
    """

    def __init__(self, make: Callable[[RedisStorage], Q], options: RedisOptions | None, keys: Keys | None) -> None:
        self._make, self._options, self._keys = make, options, keys
        self._lock = threading.Lock()
        self._session: _Session[Q] | None = None
        self._is_closed = False
        _all.add(self)

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

    def _run(self, call: Callable[[Q], Coroutine[Any, Any, T]]) -> T:
        name = type(self).__name__
        if _is_in_event_loop():
            other = name.removeprefix("Sync")
            raise ShardedQueueError(
                f"{name} was called in an event loop, which it would block: await the methods of {other} there"
            )
        return self._open(f"this {name} is closed: make another one").run(call)

    def _open(self, closed: str) -> "_Session[Q]":
        with self._lock:
            if self._is_closed:
                raise ShardedQueueError(closed)
            if self._session is None:
                self._session = _Session(self._make, self._options, self._keys, closed)
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
    for each in list(_all):
        each._forget()


_all: "weakref.WeakSet[Blocking[Any]]" = weakref.WeakSet()
os.register_at_fork(after_in_child=_forget_all)


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def blocking(
    method: Callable[Concatenate[Q, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Blocking[Q], P], T]:
    """The method of a `Blocking` that calls this one, and waits for its answer."""

    @wraps(method)
    def call(self: Blocking[Q], /, *given: P.args, **named: P.kwargs) -> T:
        return self._run(lambda worker: method(worker, *given, **named))

    return call


class SyncQueue(Blocking[Queue]):
    """
    Registers requests with handlers, from code that is not async. Any number of OS threads may share one.

    *options*: where Redis is, by default as the settings say. *keys*: prefixes of the keys, by default those of the
    settings. *middleware*: as of a `Queue`. The first call connects. After a `fork` the child connects for itself, so
    make the queue once, at import time, also where a server forks its processes later. The queue closes when the
    interpreter exits.

    Methods are those of `Queue`. `Handler.route`, `Handler.identity` and middleware run in the event loop of the queue,
    and must not block it.

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
        middleware = checked(middleware)
        super().__init__(lambda storage: Queue(storage, middleware=middleware), options, keys)

    register = blocking(Queue.register)
    schedule = blocking(Queue.schedule)
    schedules = blocking(Queue.schedules)
    unschedule = blocking(Queue.unschedule)
    delayed = blocking(Queue.delayed)
    cancel = blocking(Queue.cancel)
    reshard = blocking(Queue.reshard)


class _Session(Generic[Q]):
    """A queue, or another *Q*, on Redis, and the event loop that it runs in, in an OS thread of its own."""

    def __init__(
        self, make: Callable[[RedisStorage], Q], options: RedisOptions | None, keys: Keys | None, closed: str
    ) -> None:
        os_threads.check_server()
        self._client, self._closed = connect(options), closed
        self._worker = make(RedisStorage(self._client, keys=keys))
        self._loop = OwnLoop()
        self._lock = threading.Lock()
        self._is_ended = False
        self._has_stopped = os_threads.make_flag()
        os_threads.start(self._serve, "sharded-queue")

    def _serve(self) -> None:
        self._loop.run_forever()
        self._loop.close()
        self._has_stopped.set()

    def run(self, call: Callable[[Q], Coroutine[Any, Any, T]]) -> T:
        """Run *call* in the event loop, in a copy of the caller's context, which has the caller's trace."""
        with self._lock:
            if self._is_ended:
                raise ShardedQueueError(self._closed)
            answer = _Answer(self._loop, call(self._worker))
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
