"""What a handler answers for a request (a thread or a key, and a priority), and the bounds of each."""

from typing import NamedTuple
from zlib import crc32

from sharded_queue.errors import RouteError

THREAD_BYTES = 256
PRIORITY_BOUND = 2**31


class Route(NamedTuple):
    """
    A handler's answer for one request: its thread and its priority.

    One worker at a time handles the requests of a *thread*; inside it, tubes with a lower *priority* number go first. A
    thread is a number or a text of at most 256 bytes; `3` and `"3"` are the same thread.
    """

    thread: int | str = 0
    priority: int = 0


class KeyRoute(NamedTuple):
    """
    A handler's answer for one request where the handler declares its number of *threads* and leaves the choice of the
    thread to the library.

    Requests with the same *key*, a number or a text, share a thread, and keep their order when the number of threads
    changes. `3` and `"3"` are the same key.
    """

    key: int | str
    priority: int = 0


def key_hash(key: int | str) -> int:
    """The CRC-32 of a key's text, from which its thread derives: the same in every process and release."""
    return crc32(str(key).encode("utf-8", "surrogatepass"))


def checked_key(route: object) -> tuple[int, int]:
    """
    The key's hash and the priority of a route by key.

    Raises:
        RouteError: this is not a `KeyRoute`, or a part of it is out of bounds.
    """
    if not isinstance(route, KeyRoute):
        raise RouteError(f"the handler declares its threads, so its routes are KeyRoute(key, priority), not {route!r}")
    if isinstance(route.key, bool) or not isinstance(route.key, int | str):
        raise RouteError(f"key {route.key!r} must be an int or a str, not {type(route.key).__name__}")
    return key_hash(route.key), _checked_priority(route.priority)


def checked(route: object) -> tuple[str, int]:
    """
    The thread, as text, and the priority of a route.

    Raises:
        RouteError: this is not a `Route`, or a part of it is out of bounds.
    """
    if not isinstance(route, tuple) or len(route) != len(Route._fields):
        raise RouteError(f"a route is Route(thread, priority), not {route!r}")
    if isinstance(route, KeyRoute):
        raise RouteError(f"{route!r} is a route by key: declare how many threads the handler has, as in `threads = 8`")
    thread, priority = route
    if isinstance(thread, bool) or not isinstance(thread, int | str):
        raise RouteError(f"thread {thread!r} must be an int or a str, not {type(thread).__name__}")
    _checked_priority(priority)
    text = str(thread)
    if not 0 < len(text.encode("utf-8", "replace")) <= THREAD_BYTES or not text.isprintable():
        raise RouteError(f"thread {text[:40]!r} must be 1 to {THREAD_BYTES} bytes of printable text")
    return text, priority


def _checked_priority(priority: object) -> int:
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) >= PRIORITY_BOUND:
        raise RouteError(f"priority {priority!r} must be an int between -2**31 and 2**31")
    return priority
