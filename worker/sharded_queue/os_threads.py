"""
An event loop in an OS thread of its own, also where gevent or eventlet have put greenlets in the place of OS threads.

There a `threading.Thread` is a greenlet of the OS thread that started it, and an event loop in it would claim the whole
OS thread. Locks are for the greenlets of one OS thread, so what another one does is waited for on a socket.
"""

import _socket
import asyncio
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from sharded_queue.errors import ShardedQueueError

MOST_CALLS = 32
"""In OS threads of one event loop at a time, as in Python's own pools."""

Start = Callable[[Callable[[], object], tuple[()]], object]


def start(function: Callable[[], object], name: str) -> None:
    """Call *function* in an OS thread, which no exit of Python waits for."""
    if begin := _start_beside_greenlets():
        begin(partial(_run_beside_greenlets, function), ())
    else:
        threading.Thread(target=function, name=name, daemon=True).start()


def _start_beside_greenlets() -> Start | None:
    """What starts a real OS thread where `threading` starts greenlets; None where it starts OS threads."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey and monkey.is_module_patched("threading"):
        return monkey.get_original("_thread", "start_new_thread")  # type: ignore[no-any-return]
    patcher: Any = sys.modules.get("eventlet.patcher")
    if patcher and patcher.is_monkey_patched("thread"):
        return patcher.original("_thread").start_new_thread  # type: ignore[no-any-return]
    return None


def _run_beside_greenlets(function: Callable[[], object]) -> None:
    """Both libraries keep the hub of an OS thread that has ended, and its files."""
    function()
    if gevent := sys.modules.get("gevent"):
        gevent.get_hub().destroy(destroy_loop=True)
    hubs: Any = sys.modules.get("eventlet.hubs")
    if hub := getattr(getattr(hubs, "_threadlocal", None), "hub", None):
        hub.abort(wait=True)


def make_flag() -> "threading.Event | _SocketFlag":
    """What one OS thread sets and another one waits for, once, while the greenlets beside it go on."""
    return _SocketFlag() if _start_beside_greenlets() else threading.Event()


class _SocketFlag:
    """Set by the end of a stream, which every process sees that a fork gave the sockets to."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()

    def set(self) -> None:
        with suppress(OSError):  # nobody waits any longer
            self._writer.shutdown(socket.SHUT_WR)

    def wait(self) -> None:
        with self._reader, self._writer:
            self._reader.recv(1)


def check_server() -> None:
    """
    Raises:
        ShardedQueueError: this is uWSGI, and OS threads that it has not started itself would never run.
    """
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi and not {"enable-threads", "threads"} & set(uwsgi.opt):
        raise ShardedQueueError("uWSGI runs no OS threads of a program: set its option enable-threads = true")


class OwnLoop(asyncio.SelectorEventLoop):
    """
    For an OS thread that outlives the main thread. When the main thread ends, Python shuts down the pools of OS threads
    in which it looks up names of hosts.
    """

    def __init__(self) -> None:
        monkey: Any = sys.modules.get("gevent.monkey")  # its own selector belongs to the OS thread of the greenlets
        super().__init__(monkey.get_original("selectors", "DefaultSelector")() if monkey else None)
        self._calls: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()
        self._running = 0

    async def getaddrinfo(self, host: Any, port: Any, **named: int) -> Any:
        """By the function of the system: the one of greenlets would make a hub of their own in each OS thread."""
        words = [named.get(name, 0) for name in ("family", "type", "proto", "flags")]
        return await self.run_in_executor(None, _socket.getaddrinfo, host, port, *words)

    def run_in_executor(self, executor: Any, function: Callable[..., Any], *given: Any) -> Any:  # type: ignore[override]
        """In an OS thread for this call alone, unless an *executor* is given."""
        if executor is not None:
            return super().run_in_executor(executor, function, *given)
        future = self.create_future()
        self._calls.append((future, partial(function, *given)))
        self._start_calls()
        return future

    def _start_calls(self) -> None:
        while self._calls and self._running < MOST_CALLS:
            self._running += 1
            start(partial(self._call, *self._calls.popleft()), "sharded-queue-call")

    def _call(self, future: asyncio.Future[Any], call: Callable[[], Any]) -> None:
        result, error = None, None
        try:
            result = call()
        except BaseException as raised:  # for who waits for the future
            error = raised
        with suppress(RuntimeError):  # the event loop was closed meanwhile
            self.call_soon_threadsafe(self._end_call, future, result, error)

    def _end_call(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._running -= 1
        self._start_calls()
        if future.cancelled():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(result)
