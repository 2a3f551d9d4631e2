"""
Foreign text (names in Redis, requests, errors, answers of servers) made safe to show.

A terminal obeys control characters, a log takes a line feed for the start of its next entry, and direction marks make a
reader see another text than is there. Code that shows foreign text passes it through here.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

LIMIT = 1000
"""The most characters of one foreign text in a log line or in the status of a resource."""

UNPRINTABLE = re.compile(r"[^ -~]")
"""Candidates only. Most texts are ASCII, and checking every character takes a hundred times as long."""


def printable(text: object, limit: int | None = None) -> str:
    """
    *text* in one line. What moves a cursor, ends a line, turns the writing direction or is not a character is escaped
    (`\\x1b`, `\\n`, `\\u202e`); so are bytes that are not UTF-8. Beyond *limit* characters, the rest is only counted.

    Never raises: an object whose `__str__` fails is shown by the name of its type.
    """
    decoded = text.decode(errors="backslashreplace") if isinstance(text, bytes) else _str(text)
    if limit is not None and len(decoded) > limit:
        decoded, rest = decoded[:limit], len(decoded) - limit
        return f"{printable(decoded)}… ({rest:,} characters more)"
    return UNPRINTABLE.sub(_escaped_as_python, decoded)


def json_line(value: Any) -> str:
    """*value* as one line of JSON that is safe to show: unprintable characters are escaped, and it means the same."""
    return UNPRINTABLE.sub(_escaped_as_json, msgspec.json.encode(value).decode())


def counted(number: int, noun: str) -> str:
    """`1 request`, `2,000 requests`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def be(number: int) -> str:
    """The verb after `counted`: one request *is*, two *are*."""
    return "is" if number == 1 else "are"


def utc(seconds: float, timespec: str = "milliseconds") -> str:
    """A moment, in seconds since 1970, as the commands and the logs write it: ISO 8601 in UTC, ending in `Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def instant(ms: float) -> str:
    """A moment in ISO 8601, UTC, to the second; in milliseconds if it is outside of the calendar."""
    try:
        return utc(ms / 1000, "seconds")
    except (ValueError, OverflowError, OSError):
        return f"{ms:.0f} ms"


def _str(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


def _escaped_as_python(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _escaped_as_json(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else json.dumps(character)[1:-1].replace("\x7f", "\\u007f")
