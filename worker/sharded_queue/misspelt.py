"""Attributes of a handler that are spelt almost as one of ours, or as other queues spell theirs, and have no effect."""

from collections.abc import Iterator
from difflib import SequenceMatcher
from inspect import get_annotations
from types import NoneType
from typing import Any

ATTRIBUTES = ("ageing_seconds", "capacity", "deduplicate_seconds", "retry", "shards", "threads", "timeout_seconds")
CLOSE = 0.85
TIMEOUT, RETRY = "timeout_seconds", "retry = Retry(limit=…)"
FOREIGN = {
    "default_retry_delay": RETRY,
    "job_timeout": TIMEOUT,
    "max_attempts": RETRY,
    "max_retries": RETRY,
    "max_tries": RETRY,
    "priority": "route, which gives each request its priority",
    "retries": RETRY,
    "retry_backoff": RETRY,
    "retry_delay": RETRY,
    "retry_limit": RETRY,
    "soft_time_limit": TIMEOUT,
    "time_limit": TIMEOUT,
    "timeout": TIMEOUT,
}
"""Names of other queues, and what we have in their place."""

PLAIN = (int, float, str, list, tuple, dict, NoneType)
"""What a setting is written as. Whatever else a class holds, such as a method or a client, is not meant for us."""


def misspelt_attributes(handler: type[Any]) -> Iterator[str]:
    """A sentence for each of them that this class itself defines. An annotated attribute is one of the user's own."""
    for name, value in vars(handler).items():
        if name.startswith("_") or not isinstance(value, PLAIN) or name in _annotated(handler):
            continue
        if meant := FOREIGN.get(name) or _close(name):
            yield f"{name} has no effect; did you mean {meant}?"


def _annotated(handler: type[Any]) -> Any:
    """
    From Python 3.14 on, annotations are evaluated when they are asked for, and a name in them may not exist yet. Then
    the names of the attributes cannot be told, and none is misspelt.
    """
    try:
        return get_annotations(handler)
    except NameError:
        return vars(handler)


def _close(name: str) -> str | None:
    """The attribute that is meant, if any. One of more words, such as `http_timeout_seconds`, has its own meaning."""
    if name in ATTRIBUTES:
        return None
    likely = [own for own in ATTRIBUTES if own.count("_") == name.count("_") or own.replace("_", "") == name]
    ranked = {own: SequenceMatcher(None, name, own).ratio() for own in likely}
    best = max(ranked, key=ranked.__getitem__, default=None)
    return best if best and ranked[best] >= CLOSE else None
