"""
Everything that is known of a shard, read in one atomic step: for `check`, and for tests. It costs Redis as much as
reading the whole shard.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import gcd, inf
from typing import Any, NamedTuple, TypeVar

from sharded_queue.backends.redis.scripts import grouped, is_of_other_kind, text_of
from sharded_queue.backends.redis.storage import RedisStorage, first_of
from sharded_queue.errors import StorageUnavailable
from sharded_queue.serializer import STAMP_DIGITS
from sharded_queue.settings import settings
from sharded_queue.storage import First
from sharded_queue.tube import Shard, thread_and_priority

TubeName = tuple[str, int]
"""Thread and priority."""
LIST_NAME = re.compile(r"(.+)/(0|-?[1-9]\d{0,9})\Z", re.DOTALL)
THREAD_RECORD = re.compile(rb"(-?\d{1,10} -?\d{1,16} -?\d{1,16}( (?!\Z)|\Z))*")
COUNTERS = (
    "depth",
    "sequence",
    "fence",
    "dead",
    "registered",
    "settled",
    "duplicates",
    "busy_us",
    "reconciled",
    "born",
    "polled",
)
FIRST_LONG_MOMENT = 10**13
"""Our times have thirteen digits at most."""
UNLISTED = b"unlisted"
"""The member of `unparking` that is no residue class: its score says how far old threads are listed."""
QUARANTINED, STOPPED = 10**14, 2 * 10**14
"""Until when a thread is blocked that is in quarantine, or stopped; one that is paused: for ever."""
K = TypeVar("K")
T = TypeVar("T")


class TubeRecord(NamedTuple):
    """
    A tube: from *head* to *tail* (exclusive) by its index, and the length of its list, -1 where the key is not a list.
    *oldest_ms* is None where the list is empty, or its first message has no time.
    """

    head: int
    tail: int
    length: int
    oldest_ms: int | None


class HoldRecord(NamedTuple):
    """
    A bound thread. Its holder has nothing in hand while *last* < *first*. It is drained while not *is_busy*.

    *is_alone*: the worker has nothing in a call but the request in hand.
    """

    owner: str
    fence: int
    is_busy: bool
    priority: int
    first: int
    last: int
    is_alone: bool = False


class PoisonSuspects(NamedTuple):
    """Requests handed out one by one, to find the one that fails; and the failures of the first of them."""

    sequence: int
    last: int
    attempts: int
    crashes: int


class LayoutRecord(NamedTuple):
    """The layout in force, and the number of threads of the previous layout (0: there was none)."""

    number: int
    threads: int
    before: int

    @classmethod
    def of(cls, text: bytes) -> "LayoutRecord":
        """What this release knows of a layout: a later one may have written more."""
        return cls(*map(int, text.split()[:3]))

    def residue(self, thread: str, number: int) -> int | None:
        """The residue class of a thread of layout *number*; None for other threads."""
        layout, _, place = thread.partition(":")
        return int(place) % self.classes if layout == str(number) and place.isdecimal() else None

    @property
    def classes(self) -> int:
        """The number of residue classes."""
        return gcd(self.threads, self.before)

    def listed(self, unlisted: int) -> int:
        """Residue classes below this one are listed whole, while so many threads have not been looked at."""
        return (self.before - unlisted) * self.classes // self.before if 0 < unlisted <= self.before else self.classes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is known of a shard."""

    tubes: dict[TubeName, TubeRecord]
    held: dict[str, HoldRecord]
    failures: dict[TubeName, PoisonSuspects]
    ready: dict[str, float]
    blocked: dict[str, float]
    oldest: dict[TubeName, float]
    deep: dict[str, float]
    leases: dict[str, float]
    due: set[int]
    later: set[int]
    dead: set[int]
    letters: set[int]
    identities: dict[str, float]
    firsts: dict[str, First]
    occurrences: dict[str, float]
    schedules: set[str]
    counters: dict[str, int]
    layout: LayoutRecord | None
    old: dict[str, float]
    parked: dict[str, float]
    unparking: set[int]
    exhausted: dict[str, int] = field(default_factory=dict)
    """By thread, the priority of the request without tries for which it stands still."""
    failed: set[str] = field(default_factory=set)
    history: set[str] = field(default_factory=set)
    quarantine: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    unlisted: int = 0
    """Threads of the previous layout that have not been looked at after a change."""

    @property
    def depths(self) -> dict[str, int]:
        depths: dict[str, int] = {}
        for (thread, _), line in self.tubes.items():
            depths[thread] = depths.get(thread, 0) + line.length
        return depths


async def unindexed_tubes(storage: RedisStorage, shard: Shard) -> list[TubeName]:
    """
    Tubes that have a list in Redis and are missing from the index, found by a scan of all keys. Bytes of a name that
    are not UTF-8 are escaped as in `os.fsdecode`.
    """
    base = storage.keys.base(shard)
    found = await storage.look_through(f"{base}/", "*", "list")
    for thread, record in await _thread_records(storage, base):
        if THREAD_RECORD.fullmatch(record):
            priorities = record.split(b" ")[::3]
            found.difference_update(_key(f"{base}/".encode() + thread + b"/" + priority) for priority in priorities)
    names = [LIST_NAME.match(key.removeprefix(f"{base}/")) for key in found]
    return [(name[1], int(name[2])) for name in names if name]


async def _thread_records(storage: RedisStorage, base: str) -> Iterator[Any]:
    """Threads and their records; none where the key is not a hash, which a repair removes."""
    try:
        flat = await storage.scripts.ask(base, "HGETALL", f"{base}:threads", seconds=settings.redis_timeout)
    except StorageUnavailable as error:
        if not is_of_other_kind(error):
            raise
        return iter(())
    return iter(flat.items()) if isinstance(flat, dict) else grouped(flat, 2)  # RESP3 answers with a map


def _key(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def tube_arguments(found: Sequence[TubeName]) -> list[Any]:
    return [part for thread, priority in found for part in (thread.encode(errors="surrogateescape"), priority)]


async def snapshot(
    storage: RedisStorage, shard: Shard, found: Sequence[TubeName] = (), *, seconds: float = 60.0
) -> Snapshot:
    """
    A snapshot of a shard, with the lists that were *found* beside those in its index. It costs Redis as much as reading
    the whole shard: do not take one every minute.
    """
    reply = await storage.scripts.run_long("snapshot", storage.keys.of(shard), tube_arguments(found), seconds=seconds)
    counters, _, held, failures, firsts, *rankings, later, letters, schedules, tubes, layout, old, parked, unparking = (
        reply[:-5]
    )
    quarantine, flaws, failed, history, exhausted = reply[-5:]
    ready, blocked, oldest, deep, leases, due, dead, identities, occurrences = rankings
    reader = _Reader([_unreadable(text_of(index), member, record) for index, member, record in grouped(flaws, 3)])
    return Snapshot(
        tubes={
            (text_of(thread), int(priority)): _tube(head, tail, length, first)
            for thread, priority, head, tail, length, first in grouped(tubes, 6)
        },
        held=reader.fields("held", held, text_of, _hold),
        failures=reader.fields("failures", failures, _tube_name, _suspects),
        ready=reader.fields("ready", ready, text_of, _moment),
        blocked=reader.fields("blocked", blocked, text_of, _moment_or_endless),
        oldest=reader.fields("oldest", oldest, _tube_name, float),
        deep=reader.fields("deep", deep, text_of, float),
        leases=reader.fields("leases", leases, text_of, _moment),
        due=set(reader.fields("due", due, _number, _moment)),
        later=reader.members("later", later, _number),
        dead=set(reader.fields("dead", dead, _number, _moment)),
        letters=reader.members("letters", letters, _number),
        identities=reader.fields("identities", identities, text_of, _moment),
        firsts=reader.fields("firsts", firsts, text_of, first_of),
        occurrences=reader.fields("occurrences", occurrences, text_of, _moment),
        schedules=reader.members("schedules", schedules, text_of),
        counters=reader.fields("counters", _known_counters(counters), text_of, _number),
        layout=LayoutRecord.of(layout) if layout else None,
        old=reader.fields("old", old, text_of, float),
        parked=reader.fields("parked", parked, text_of, float),
        unparking=set(reader.fields("unparking", _classes(unparking), int, float)),
        unlisted=_unlisted(unparking),
        failed=set(reader.fields("failed", failed, text_of, _moment)),
        history=reader.members("history", history, text_of),
        exhausted=reader.fields("exhausted", exhausted, text_of, _stop),
        quarantine=reader.fields("quarantine", quarantine, text_of, text_of),
        unreadable=reader.flaws,
    )


def _classes(unparking: Sequence[bytes]) -> list[bytes]:
    return [part for member, score in grouped(unparking, 2) if member != UNLISTED for part in (member, score)]


def _unlisted(unparking: Sequence[bytes]) -> int:
    return sum(-int(float(score)) for member, score in grouped(unparking, 2) if member == UNLISTED)


class _Reader:
    """Reads records, and collects a sentence on each that cannot be read."""

    def __init__(self, flaws: list[str]) -> None:
        self.flaws = flaws

    def fields(
        self, index: str, flat: Sequence[Any], key: Callable[[bytes], K], value: Callable[[bytes], T]
    ) -> dict[K, T]:
        read: dict[K, T] = {}
        for member, record in grouped(flat, 2):
            try:
                read[key(member)] = value(record)
            except ValueError:
                self.flaws.append(_unreadable(index, member, record))
        return read

    def members(self, index: str, names: Sequence[bytes], key: Callable[[bytes], K]) -> set[K]:
        return set(self.fields(index, [part for name in names for part in (name, b"")], key, bytes))


def _unreadable(index: str, member: bytes, record: bytes) -> str:
    return (
        f"{index} {text_of(member)}: {record!r:.80} cannot be read; it is not our data, and `check --repair` drops it"
    )


def _known_counters(flat: Sequence[bytes]) -> list[bytes]:
    return [part for name, value in grouped(flat, 2) if text_of(name) in COUNTERS for part in (name, value)]


def _number(text: bytes) -> int:
    if not re.fullmatch(rb"-?[0-9]{1,16}", text):
        raise ValueError(text)
    return int(text)


def _moment(score: bytes) -> float:
    moment = float(score)
    if not 0 <= moment < FIRST_LONG_MOMENT:
        raise ValueError(score)
    return moment


def _moment_or_endless(score: bytes) -> float:
    return moment if (moment := float(score)) in (QUARANTINED, STOPPED, inf) else _moment(score)


def _stamp(message: bytes) -> int | None:
    """The time of a message; None for one without a time, which counts as new."""
    return int(message[:STAMP_DIGITS]) if message[:STAMP_DIGITS].isdigit() else None


def _tube(head: bytes, tail: bytes, length: int, first: bytes) -> TubeRecord:
    return TubeRecord(int(head), int(tail), length, _stamp(first) if length > 0 else None)


def _tube_name(name: bytes) -> TubeName:
    return thread_and_priority(text_of(name))


def _hold(text: bytes) -> HoldRecord:
    fence, owner, since, _, priority, first, last, *more = text_of(text).split(" ")
    is_alone = len(more) > 0 and re.match(r"0\d", more[0]) is not None
    return HoldRecord(owner, int(fence), since != "0", int(priority), int(first), int(last), is_alone)


def _stop(text: bytes) -> int:
    priority, _ = map(int, text.split(b" "))
    return priority


def _suspects(text: bytes) -> PoisonSuspects:
    sequence, last, attempts, crashes, _ = text.split(b" ", 4)
    return PoisonSuspects(int(sequence), int(last), int(attempts), int(crashes))
