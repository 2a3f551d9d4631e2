"""
What strangers may use up of a process that listens: connections, time, bytes and lines of the log.

The ports of a worker, of the operator and of the console have these bounds in common.
"""

import logging
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Generic, Protocol, TypeVar

HEAD_BYTES = 16 * 1024
"""The longest head of a request. Prometheus and the kubelet send less than 1 KiB."""
HEAD_SECONDS = 5.0
"""From the start of a connection, or from its last answer, until the head of a request is complete."""
BODY_SECONDS = 10.0
"""From the end of a head to the end of its body."""
ANSWER_SECONDS = 10.0
"""To compute an answer, and again for the client to read it."""
ACCEPTED_AT_ONCE = 8
"""
Connections accepted in one turn of the event loop. `Connections.admit` sees them in the next turn only, so up to twice
as many descriptors are in use beside its bound. asyncio's own 100 are more than some processes have left.
"""
KERNEL_QUEUE = 128
"""Connections that the kernel keeps until they are accepted; it makes the next client try again a second later."""
LINES, LINES_OF_ALL, LINES_SECONDS = 10, 60, 60.0
"""How often the log has the same warning about clients, and all warnings together, in a time."""


class Bounded(Protocol):
    """A connection. *rank*: 0 while its client owes a request; the lowest is closed first. *since*: in this state."""

    @property
    def rank(self) -> int: ...
    @property
    def since(self) -> float: ...
    def abort(self) -> None: ...


C = TypeVar("C", bound=Bounded)


class Connections(Generic[C]):
    """Open connections, at most *most* of them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: dict[C, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: C) -> None:
        """Accept a connection. When too many are open, close the oldest, first of those that have not asked yet."""
        if len(self._open) >= self.most:
            oldest = min(self._open, key=lambda each: (each.rank, each.since))
            self.forget(oldest)
            oldest.abort()
        self._open[connection] = None

    def forget(self, connection: C) -> None:
        self._open.pop(connection, None)

    def close(self) -> None:
        for connection in list(self._open):
            connection.abort()


class Window:
    """Counts what happens, from zero again after each *LINES_SECONDS*. *elapsed* tells seconds."""

    def __init__(self, elapsed: Callable[[], float] = monotonic) -> None:
        self._elapsed, self._began = elapsed, elapsed()
        self._counts: Counter[str] = Counter()

    def counts(self) -> Counter[str]:
        if self._elapsed() - self._began >= LINES_SECONDS:
            self._began = self._elapsed()
            self._counts.clear()
        return self._counts


class FewMessages(logging.Filter):
    """
    Lets each message through *LINES* times in *LINES_SECONDS*, and *LINES_OF_ALL* in all: whoever can connect can cause
    them without end, and some have a text of their own each time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._window = Window()

    def filter(self, record: logging.LogRecord) -> bool:
        message, lines = str(record.msg), self._window.counts()
        if lines[message] >= LINES or lines.total() >= LINES_OF_ALL:
            return False
        lines[message] += 1
        if lines[message] == LINES:
            record.msg = f"{message.rstrip()} (the last line of its kind for up to {LINES_SECONDS:g} s)"
        elif lines.total() == LINES_OF_ALL:
            record.msg = f"{message.rstrip()} (the last line about clients for up to {LINES_SECONDS:g} s)"
        return True
