"""Requests as people may see them: as JSON, redacted by their handler, or not at all."""

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from sharded_queue.errors import describe
from sharded_queue.handler import known
from sharded_queue.state import ThreadState

SHOWN_CHARACTERS = 2000
"""Of a request: a page of twenty stays small, whatever a producer registers."""
ONE_LINE_CHARACTERS = 100
HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class Bodies:
    """*are_hidden*: no page shows requests, headers or tracebacks, and of an error only its type."""

    are_hidden: bool = False

    def text(self, handler: str, value: Any) -> str:
        """A request, from the JSON value it is stored as, in lines of at most some characters in all."""
        if self.are_hidden:
            return HIDDEN
        return shortened(pretty(redacted(handler, value)))

    def headers(self, headers: dict[str, str]) -> str:
        if not headers:
            return ""
        return HIDDEN if self.are_hidden else shortened(pretty(headers))

    def error(self, error: str) -> str:
        return error.partition(":")[0] if self.are_hidden else error

    def thread(self, state: ThreadState) -> ThreadState:
        tubes = [tube._replace(error=self.error(tube.error)) for tube in state.tubes]
        exhausted = state.exhausted and state.exhausted._replace(error=self.error(state.exhausted.error))
        return replace(state, tubes=tubes, exhausted=exhausted)

    def traceback(self, traceback: str) -> str:
        return HIDDEN if self.are_hidden and traceback else traceback


def redacted(handler: str, value: Any) -> Any:
    """What the handler lets people see of a request. A handler that fails at it shows nothing."""
    cls = known().get(handler)
    if cls is None:
        return value
    if isinstance(value, msgspec.Raw):
        value = msgspec.json.decode(value)
    try:
        return cls.redact(value)
    except Exception as error:  # the user's own code runs here, and may raise anything
        return f"hidden, because redact failed: {type(error).__name__}"


def pretty(value: Any) -> str:
    """In one line if it is short, and indented otherwise."""
    try:
        raw = bytes(value) if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)
        spaced = msgspec.json.format(raw, indent=0).decode()
        return spaced if len(spaced) <= ONE_LINE_CHARACTERS else msgspec.json.format(raw, indent=2).decode()
    except Exception as error:  # what `redact` returned may be anything
        return f"cannot be shown as JSON: {describe(error, 200)}"


def shortened(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}… ({len(text) - SHOWN_CHARACTERS:,} characters more)"
