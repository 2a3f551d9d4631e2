"""
What others wrote (names in Redis, requests, errors, answers of servers), as text that is safe to show.

A terminal obeys control characters, a log takes a line feed for its next entry, and marks of writing direction show a
reader another text than the one that is there. Code that shows foreign text passes it through here.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

LIMIT = 1000
"""Characters of one foreign text in a line of a log or in the status of a resource."""

UNPRINTABLE = re.compile(r"[^ -~]")
"""Candidates only: most texts are ASCII, and a look at each character takes a hundred times as long."""


def printable(text: object, limit: int | None = None) -> str:
    """
    *text* in one line: what moves a cursor, ends a line, turns the writing direction or is no character is spelled out
    (`\\x1b`, `\\n`, `\\u202e`); bytes that are no UTF-8 likewise. Of more than *limit* characters the rest is counted.

    Never raises: an object whose `__str__` does is shown by the name of its type.
    """
    decoded = text.decode(errors="backslashreplace") if isinstance(text, bytes) else _str(text)
    if limit is not None and len(decoded) > limit:
        decoded, rest = decoded[:limit], len(decoded) - limit
        return f"{printable(decoded)}… ({rest:,} characters more)"
    return UNPRINTABLE.sub(_spelled, decoded)


def json_line(value: Any) -> str:
    """*value* as JSON in one line that is safe to show and means the same: what is not printable is escaped."""
    return UNPRINTABLE.sub(_escaped, msgspec.json.encode(value).decode())


def counted(number: int, noun: str) -> str:
    """`1 request`, `2,000 requests`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def be(number: int) -> str:
    """The verb after `counted`: one request *is*, two *are*."""
    return "is" if number == 1 else "are"


def utc(seconds: float, timespec: str = "milliseconds") -> str:
    """A moment, in seconds since 1970, as the commands and the logs write it: ISO 8601 in UTC, ending in `Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def _str(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


def _spelled(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else json.dumps(character)[1:-1].replace("\x7f", "\\u007f")
