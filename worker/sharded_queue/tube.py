"""
Where requests wait: tubes, the shards that keep them, and the only code that spells a key.

A handler's threads live in one or more *shards*. All keys of a shard carry the same Redis hash tag, so one script may
touch all of them, on a single Redis and on a Cluster alike.
"""

import re
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

from sharded_queue.printable import printable

THREADS_BOUND = 65_536
NUMBERED = re.compile(r"[0-9]+:([0-9]+)\Z")
"""A thread that keys are placed on: the number of its layout, and its own number in it."""
HANDLER = r"[A-Za-z_][\w.<>\-]{0,199}"
HANDLER_NAME = re.compile(rf"{HANDLER}\Z")

SHARD_TAG = re.compile(rf"({HANDLER})(?::(\d{{1,2}}))?\Z")
"""The hash tag of a shard: the handler and, if it has several shards, a colon and the shard's number."""


class Shard(NamedTuple):
    """
    The part of a handler's threads that shares one hash tag.

    *spread* is the number of shards of the handler. With one, the tag is the handler's name.
    """

    handler: str
    number: int = 0
    spread: int = 1

    @property
    def tag(self) -> str:
        """The hash tag of its keys in Redis."""
        return self.handler if self.spread == 1 else f"{self.handler}:{self.number}"


class Layout(NamedTuple):
    """How keys are spread over threads: the number of the layout, counted from 1, and its number of threads."""

    number: int
    threads: int

    def thread(self, key_hash: int) -> str:
        """The name of the thread that a key of this hash belongs to."""
        return f"{self.number}:{key_hash % self.threads}"


class Tube(NamedTuple):
    """Handler × thread × priority: one first-in-first-out queue."""

    shard: Shard
    thread: str
    priority: int

    def __str__(self) -> str:
        return f"{printable(self.shard.handler)}/{printable(self.thread)}/{self.priority}"


def thread_and_priority(name: str) -> tuple[str, int]:
    """The two parts of `thread/priority`, as a shard spells a tube in its keys and indices."""
    thread, _, priority = name.rpartition("/")
    return thread, int(priority)


class Keys(NamedTuple):
    """The key prefixes in a Redis. All processes that share queues must agree on them."""

    tubes: str = "tube_"
    binds: str = "lock_"

    def base(self, shard: Shard) -> str:
        """Prefix of all keys of a shard except its binds; a tube's list is `base/thread/priority`."""
        return f"{self.tubes}{{{shard.tag}}}"

    def lock(self, shard: Shard) -> str:
        """Prefix of a shard's binds."""
        return f"{self.binds}{{{shard.tag}}}"

    def of(self, shard: Shard) -> list[str]:
        """The prefixes that each script of a shard gets as its first keys."""
        return [self.base(shard), self.lock(shard)]

    @property
    def awake(self) -> str:
        """The channel on which a shard is named when its empty queue gets a request."""
        return f"{self.tubes}awake"


def shard_of(handler: str, thread: str, spread: int) -> Shard:
    """
    The shard that keeps a thread: the same in every process and release, hence a checksum and not `hash`.

    A thread of a layout goes by its number. The number of threads is a multiple of *spread*, so a key stays in the same
    shard under every layout.
    """
    if spread == 1:
        return Shard(handler)
    numbered = NUMBERED.match(thread)
    number = int(numbered[1]) if numbered else crc32(thread.encode())
    return Shard(handler, number % spread, spread)


@lru_cache(maxsize=4096)
def shards_of(handler: str, spread: int) -> tuple[Shard, ...]:
    """Workers ask for the shards of all their handlers in each round of their loop."""
    return tuple(Shard(handler, number, spread) for number in range(spread))


def threads_fault(threads: object, spread: int) -> str | None:
    """What is wrong with a number of threads for keys, if anything."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= THREADS_BOUND:
        return f"{threads!r}: from 1 to {THREADS_BOUND:,}"
    if threads % spread:
        return (
            f"{threads}, but the handler has {spread} shards: a multiple of {spread}, so that no key changes its shard"
        )
    return None
