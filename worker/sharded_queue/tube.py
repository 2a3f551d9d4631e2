"""
Where a request waits: values, and the only place that spells a key.

A handler's threads live in one or more *shards*. All keys of a shard carry the same Redis hash tag, so that one
script may touch all of them, on a single Redis and on a Cluster alike.
"""

import re
from typing import NamedTuple
from zlib import crc32

from sharded_queue.errors import RouteError
from sharded_queue.printable import printable

THREAD_BYTES = 256
PRIORITY_BOUND = 2**31
THREADS_BOUND = 65_536
NUMBERED = re.compile(r"[0-9]+:([0-9]+)\Z")
"""A thread that keys are placed on: the number of its layout, its own number there."""
HANDLER = r"[A-Za-z_][\w.<>\-]{0,199}"
HANDLER_NAME = re.compile(rf"{HANDLER}\Z")

SHARD_TAG = re.compile(rf"({HANDLER})(?::(\d{{1,2}}))?\Z")
"""The hash tag of a shard: the handler, and with several shards a colon and the shard's number."""


class Route(NamedTuple):
    """
    A handler's answer for one request.

    Requests of one *thread* are handled by one worker at a time; inside it, tubes of a lower *priority* number go
    first. A thread is a number or a text of at most 256 bytes; `3` and `"3"` are the same thread.
    """

    thread: int | str = 0
    priority: int = 0


class KeyRoute(NamedTuple):
    """
    A handler's answer for one request where the handler says how many *threads* it has, and not which thread it is.

    Requests of one *key*, a number or a text, are in one thread, and stay in order when the number of threads is
    changed. `3` and `"3"` are the same key.
    """

    key: int | str
    priority: int = 0


class Shard(NamedTuple):
    """
    A part of a handler's threads that shares one hash tag.

    *spread* is the number of shards the handler is spread over: with one, the tag is the handler's name.
    """

    handler: str
    number: int = 0
    spread: int = 1

    @property
    def tag(self) -> str:
        return self.handler if self.spread == 1 else f"{self.handler}:{self.number}"


class Layout(NamedTuple):
    """How keys are spread over threads: over how many, and which of the handler's layouts that is, counted from 1."""

    number: int
    threads: int

    def thread(self, mark: int) -> str:
        return f"{self.number}:{mark % self.threads}"


class Tube(NamedTuple):
    """Handler × thread × priority: one first-in-first-out line."""

    shard: Shard
    thread: str
    priority: int

    def __str__(self) -> str:
        return f"{printable(self.shard.handler)}/{printable(self.thread)}/{self.priority}"


class Keys(NamedTuple):
    """The key prefixes of one Redis: what every process that shares its queues must agree on."""

    tubes: str = "tube_"
    binds: str = "lock_"

    def base(self, shard: Shard) -> str:
        """Prefix of everything that is stored about a shard; a tube's list is `base/thread/priority`."""
        return f"{self.tubes}{{{shard.tag}}}"

    def lock(self, shard: Shard) -> str:
        """Prefix of a shard's binds."""
        return f"{self.binds}{{{shard.tag}}}"

    @property
    def awake(self) -> str:
        """The channel that names a handler's shard when its first request arrives in an empty queue."""
        return f"{self.tubes}awake"


def mark_of(key: int | str) -> int:
    """What places a key: the CRC-32 of its text, the same in every process and release."""
    return crc32(str(key).encode("utf-8", "surrogatepass"))


def shard_of(handler: str, thread: str, spread: int) -> Shard:
    """
    The shard that keeps a thread: the same in every process and release, hence a checksum and not `hash`.

    A thread of a layout goes by its number. The number of threads is a multiple of *spread*, so a key is in the shard
    of its mark whatever the layout, and the threads that a key moves between never are in two shards.
    """
    if spread == 1:
        return Shard(handler)
    numbered = NUMBERED.match(thread)
    mark = int(numbered[1]) if numbered else crc32(thread.encode())
    return Shard(handler, mark % spread, spread)


def shards_of(handler: str, spread: int) -> list[Shard]:
    return [Shard(handler, number, spread) for number in range(spread)]


def threads_fault(threads: object, spread: int) -> str | None:
    """What is wrong with a number of threads for keys, if anything."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= THREADS_BOUND:
        return f"{threads!r}: from 1 to {THREADS_BOUND:,}"
    if threads % spread:
        return (
            f"{threads}, but the handler has {spread} shards: a multiple of {spread}, so that no key changes its shard"
        )
    return None


def checked_key(route: object) -> tuple[int, int]:
    """
    Mark and priority of a route by key, once they are known to be usable.

    Raises:
        RouteError: not a `KeyRoute`, or a part of it is out of its bounds.
    """
    if not isinstance(route, KeyRoute):
        raise RouteError(f"the handler declares its threads, so its routes are KeyRoute(key, priority), not {route!r}")
    if isinstance(route.key, bool) or not isinstance(route.key, int | str):
        raise RouteError(f"key {route.key!r} must be an int or a str, not {type(route.key).__name__}")
    return mark_of(route.key), checked_priority(route.priority)


def checked(route: object) -> tuple[str, int]:
    """
    Thread (as text) and priority of a route, once they are known to be usable.

    Raises:
        RouteError: not a `Route`, or a part of it is out of its bounds.
    """
    if not isinstance(route, tuple) or len(route) != len(Route._fields):
        raise RouteError(f"a route is Route(thread, priority), not {route!r}")
    if isinstance(route, KeyRoute):
        raise RouteError(f"{route!r} is a route by key: say how many threads the handler has, as in `threads = 8`")
    thread, priority = route
    if isinstance(thread, bool) or not isinstance(thread, int | str):
        raise RouteError(f"thread {thread!r} must be an int or a str, not {type(thread).__name__}")
    checked_priority(priority)
    text = str(thread)
    if not 0 < len(text.encode("utf-8", "replace")) <= THREAD_BYTES or not text.isprintable():
        raise RouteError(f"thread {text[:40]!r} must be 1 to {THREAD_BYTES} bytes of printable text")
    return text, priority


def checked_priority(priority: object) -> int:
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) >= PRIORITY_BOUND:
        raise RouteError(f"priority {priority!r} must be an int between -2**31 and 2**31")
    return priority
