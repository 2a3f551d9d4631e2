"""
What a log line says besides its message, and how it stays one line.

The logger of the library, `sharded_queue`, makes its messages safe wherever the user's program sends them: text from
Redis, requests or handlers is printable and bounded. Our own programs add a formatter that does the same for the
messages of handlers and other libraries.
"""

import logging
import sys
from collections.abc import Callable
from typing import NamedTuple

from sharded_queue.printable import LIMIT, json_line, printable, utc

TRACEBACK_LINES = 100
"""The most lines of one traceback. Of a longer one, those in the middle are left out."""


class About(NamedTuple):
    """What is being served where a line is logged; empty where nothing is."""

    worker: str = ""
    handler: str = ""
    thread: str = ""


class Tried(NamedTuple):
    """Which requests of the thread a handler is called with; None where no handler is called."""

    priority: int | None = None
    request: int | None = None
    requests: int | None = None
    attempt: int | None = None
    fence: int | None = None


about: Callable[[], About] = About
tried: Callable[[], Tried] = Tried
"""Both say it when a line is logged, since most batches log none. `context`, which rests on this module, sets them."""


class Foreign:
    """An argument of a message, made printable when it is formatted: a `%s` or `%r` without line feeds."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __str__(self) -> str:
        return printable(self.value, LIMIT)

    def __repr__(self) -> str:
        try:
            return printable(repr(self.value), LIMIT)
        except Exception:
            return f"<{type(self.value).__name__} that cannot be shown>"


def _shield(record: logging.LogRecord) -> bool:
    """A filter that drops nothing: it makes the arguments of a message printable, and labels the record."""
    if isinstance(record.args, tuple):
        record.args = tuple(arg if isinstance(arg, int | float) else Foreign(arg) for arg in record.args)
    return label(record)


def label(record: logging.LogRecord) -> bool:
    """
    A filter that drops nothing: it adds what is being served, as `record.worker`, `record.handler` and
    `record.queue_thread`; and the requests in hand, as `record.queue_priority`, `record.queue_request` (the number of
    the first one in its tube), `record.queue_requests` (how many), `record.queue_attempt` and `record.queue_fence`.

    Give it to a handler of `logging` to have all this in your own lines, too.
    """
    record.worker, record.handler, record.queue_thread = about()
    for name, fact in zip(Tried._fields, tried(), strict=True):
        setattr(record, f"queue_{name}", fact)
    return True


logging.getLogger("sharded_queue").addFilter(_shield)


class Text(logging.Formatter):
    """`TIME LEVEL [worker handler] message` in one line; the lines of a traceback follow, indented."""

    def format(self, record: logging.LogRecord) -> str:
        whose = " ".join(filter(None, (getattr(record, "worker", ""), getattr(record, "handler", ""))))
        head = f"{utc(record.created)} {record.levelname} " + (f"[{printable(whose)}] " if whose else "")
        return head + "\n    ".join([_message_of(record), *_traceback_of(self, record)])


class Json(logging.Formatter):
    """
    One object per line: time, level, logger, worker, handler, thread, priority, request, requests, attempt, fence,
    message and traceback; empty ones are left out.
    """

    def format(self, record: logging.LogRecord) -> str:
        facts = {
            "time": utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "worker": getattr(record, "worker", ""),
            "handler": getattr(record, "handler", ""),
            "thread": getattr(record, "queue_thread", ""),
            **{name: getattr(record, f"queue_{name}", None) for name in Tried._fields},
            "message": _message_of(record),
            "traceback": "\n".join(_traceback_of(self, record)),
        }
        return json_line({name: fact for name, fact in facts.items() if fact not in ("", None) or name == "message"})


def _message_of(record: logging.LogRecord) -> str:
    return printable(record.getMessage(), 4 * LIMIT)


def _traceback_of(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    text = record.exc_text or (formatter.formatException(record.exc_info) if record.exc_info else "")
    lines = [printable(line, LIMIT) for line in text.split("\n")] if text else []
    if len(lines) <= TRACEBACK_LINES:
        return lines
    half = TRACEBACK_LINES // 2
    return [*lines[:half], f"… ({len(lines) - 2 * half} lines)", *lines[-half:]]


def configure(level: str, form: str) -> None:
    """Send all log messages of this process, from *level* up, to standard error, as text or JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if form == "json" else Text())
    handler.addFilter(label)
    logging.basicConfig(level=level, handlers=[handler], force=True)
