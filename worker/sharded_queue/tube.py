"""
Where a request waits: values, and the only place that spells a key.

A handler's threads live in one or more *shards*. All keys of a shard carry the same Redis hash tag, so that one
script may touch all of them, on a single Redis and on a Cluster alike.
"""

import re
from typing import NamedTuple
from zlib import crc32

from sharded_queue.errors import RouteError

THREAD_BYTES = 256
PRIORITY_BOUND = 2**31
HANDLER_NAME = re.compile(r"[A-Za-z_][\w.<>\-]{0,199}\Z")


class Route(NamedTuple):
    """
    A handler's answer for one request.

    Requests of one *thread* are handled by one worker at a time; inside it, tubes of a lower *priority* number go
    first. A thread is a number or a text of at most 256 bytes; `3` and `"3"` are the same thread.
    """

    thread: int | str = 0
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


class Tube(NamedTuple):
    """Handler × thread × priority: one first-in-first-out line."""

    shard: Shard
    thread: str
    priority: int

    def __str__(self) -> str:
        return f"{self.shard.handler}/{self.thread}/{self.priority}"


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


def shard_of(handler: str, thread: str, spread: int) -> Shard:
    """The shard that keeps a thread: the same in every process and release, hence a checksum and not `hash`."""
    return Shard(handler, crc32(thread.encode()) % spread if spread > 1 else 0, spread)


def shards_of(handler: str, spread: int) -> list[Shard]:
    return [Shard(handler, number, spread) for number in range(spread)]


def checked(route: object) -> tuple[str, int]:
    """
    Thread (as text) and priority of a route, once they are known to be usable.

    Raises:
        RouteError: not a `Route`, or a part of it is out of its bounds.
    """
    if not isinstance(route, tuple) or len(route) != len(Route._fields):
        raise RouteError(f"a route is Route(thread, priority), not {route!r}")
    thread, priority = route
    if isinstance(thread, bool) or not isinstance(thread, int | str):
        raise RouteError(f"thread {thread!r} must be an int or a str, not {type(thread).__name__}")
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) >= PRIORITY_BOUND:
        raise RouteError(f"priority {priority!r} must be an int between -2**31 and 2**31")
    text = str(thread)
    if not 0 < len(text.encode("utf-8", "replace")) <= THREAD_BYTES or not text.isprintable():
        raise RouteError(f"thread {text[:40]!r} must be 1 to {THREAD_BYTES} bytes of printable text")
    return text, priority
