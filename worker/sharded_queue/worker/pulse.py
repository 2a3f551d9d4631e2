"""Whether an event loop moves, as another OS thread sees it, and what it runs if it does not."""

import asyncio
import time
from collections.abc import Callable

from sharded_queue import context
from sharded_queue.lease import Lease


class Pulse:
    """Asks *loop* for a sign of life each time it is looked at."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.monotonic) -> None:
        self._loop, self._clock = loop, clock
        self._asked_at = 0.0
        self._has_answered = True

    def silence(self) -> float:
        """Seconds for which the loop has not answered; at most one look less than it has stood still."""
        now = self._clock()
        if self._has_answered:  # the only state that the loop changes, from its own OS thread at any moment
            self._asked_at, self._has_answered = now, False
            self._loop.call_soon_threadsafe(self._answer)
        return now - self._asked_at

    def _answer(self) -> None:
        self._has_answered = True

    def task(self) -> "asyncio.Task[object] | None":
        """The task that the loop runs; None in a callback that is no task."""
        return asyncio.current_task(self._loop)


def lease_of(task: "asyncio.Task[object]") -> Lease | None:
    """
    The lease under which a task was started, for one that a handler started.

    Raises:
        LookupError: before Python 3.12, a task does not tell its context.
    """
    get_context = getattr(task, "get_context", None)
    if get_context is None:
        raise LookupError
    found: Lease | None = get_context().get(context.lease)
    return found
