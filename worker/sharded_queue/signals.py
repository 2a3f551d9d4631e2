"""SIGTERM and SIGINT, for everything in this process that ends gracefully."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sharded_queue.errors import ShardedQueueError

Received = Callable[[str], None]
SIGNALS = (signal.SIGTERM, signal.SIGINT)

_listeners: list[tuple[asyncio.AbstractEventLoop, Received]] = []
_before: dict[int, Any] = {}


@contextmanager
def heeded(received: Received) -> Iterator[None]:
    """
    While the block lasts, call *received* in the running event loop with the name of each SIGTERM and SIGINT.

    Blocks may overlap: each of them is called. After the last one, the process handles signals as it did before.

    Raises:
        ShardedQueueError: this is not the main OS thread, and only that one gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ShardedQueueError("only the main OS thread gets signals: elsewhere, call Worker.loop() and Worker.stop()")
    listener = asyncio.get_running_loop(), received
    if not _listeners:
        _before.update({number: signal.signal(number, _forward) for number in SIGNALS})
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
        if not _listeners:
            for number in SIGNALS:
                signal.signal(number, _before.pop(number) or signal.SIG_DFL)


def terminate_with(descriptor: int) -> None:
    """Have SIGTERM sent to this process when the pipe *descriptor* ends, because the process at its other end has."""
    os.set_inheritable(descriptor, False)
    threading.Thread(target=_terminate_after, args=(descriptor,), name="sharded-queue-parent", daemon=True).start()


def _terminate_after(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _forward(number: int, _: object) -> None:
    for loop, received in tuple(_listeners):
        loop.call_soon_threadsafe(received, signal.Signals(number).name)
