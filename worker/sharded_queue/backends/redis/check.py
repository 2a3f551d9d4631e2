"""
A recount: what the indices and counters of a shard say, against what its tubes hold.

`Picture` is the whole of a shard, taken in one atomic step; `faults` names everything in it that does not add up. The
scripts keep all of it true step by step, so a fault is a bug of ours, or somebody wrote to our keys. `repair` puts it
right.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import gcd, inf
from typing import Any, NamedTuple, TypeVar

from sharded_queue.backends.redis.scripts import grouped, is_of_other_kind, text_of
from sharded_queue.backends.redis.storage import RedisStorage, first_of
from sharded_queue.errors import StorageUnavailable
from sharded_queue.printable import counted
from sharded_queue.serializer import STAMP_DIGITS
from sharded_queue.settings import settings
from sharded_queue.storage import First
from sharded_queue.tube import Shard

Place = tuple[str, int]
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
    "mended",
    "born",
    "looked",
)
FIRST_LONG_MOMENT = 10**13
"""No time of ours has more than thirteen digits."""
K = TypeVar("K")
T = TypeVar("T")


class Line(NamedTuple):
    """
    A tube: what its index says (*head* to *tail*, exclusive), and what is there; a length of -1: no list. No
    *oldest_ms* where nothing is, or the first message has no time.
    """

    head: int
    tail: int
    length: int
    oldest_ms: int | None


class Hold(NamedTuple):
    """A bound thread; nothing is in hand while *last* < *first*, and it is drained while not *is_busy*."""

    owner: str
    fence: int
    is_busy: bool
    priority: int
    first: int
    last: int


class Suspects(NamedTuple):
    """Requests that are handed out one by one, and what is known of the first."""

    sequence: int
    last: int
    attempts: int
    crashes: int


class Laid(NamedTuple):
    """The layout in force, and how many threads the one before had (0: there was none)."""

    number: int
    threads: int
    before: int

    def residue(self, thread: str, number: int) -> int | None:
        """Residue class of a thread of layout *number*; None for another thread."""
        layout, _, place = thread.partition(":")
        return int(place) % gcd(self.threads, self.before) if layout == str(number) and place.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that is known of a shard."""

    tubes: dict[Place, Line]
    held: dict[str, Hold]
    trouble: dict[Place, Suspects]
    ready: dict[str, float]
    blocked: dict[str, float]
    oldest: dict[Place, float]
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
    layout: Laid | None
    old: dict[str, float]
    parked: dict[str, float]
    opened: set[int]
    quarantine: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    @property
    def depths(self) -> dict[str, int]:
        depths: dict[str, int] = {}
        for (thread, _), line in self.tubes.items():
            depths[thread] = depths.get(thread, 0) + line.length
        return depths


@dataclass(frozen=True, slots=True)
class Change:
    """What a repair wrote: a member of an index (or a field of a record), as it was and as it is; empty: not there."""

    index: str
    member: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.index} {self.member}: {self.was or 'nothing'} is now {self.now or 'nothing'}"


async def strays(storage: RedisStorage, shard: Shard) -> list[Place]:
    """
    Tubes that have a list in Redis and are not in the index, found by a look through all keys. Bytes of a name that are
    no UTF-8 are escaped as in `os.fsdecode`.
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
    """Threads and their records; none where what is there is no hash, which a repair removes."""
    try:
        flat = await storage.scripts.ask(base, "HGETALL", f"{base}:threads", seconds=settings.redis_timeout)
    except StorageUnavailable as error:
        if not is_of_other_kind(error):
            raise
        return iter(())
    return iter(flat.items()) if isinstance(flat, dict) else grouped(flat, 2)  # RESP3 answers with a map


def _key(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _arguments(found: Sequence[Place]) -> list[Any]:
    return [part for thread, priority in found for part in (thread.encode(errors="surrogateescape"), priority)]


async def repair(storage: RedisStorage, shard: Shard, *, seconds: float = 60.0) -> list[Change]:
    """
    Put the indices and counters of a shard right, from its lists and records; returns what was changed.

    One atomic step, so workers may go on meanwhile, though Redis serves nobody else for its length: seconds for 100,000
    threads. Order and leases are kept, but for a lease whose holder has something else in hand than its tube begins
    with now: that is taken, and the batch is handled again. Of what cannot be known any more, registered and settled
    requests are not counted again, and delayed ones that lost their time are due now.
    """
    arguments = _arguments(await strays(storage, shard))
    reply = await storage.scripts.run_once("repair", storage.keys.of(shard), arguments, seconds=seconds, is_long=True)
    return [Change(*map(text_of, change)) for change in reply]


async def picture(
    storage: RedisStorage, shard: Shard, found: Sequence[Place] = (), *, seconds: float = 60.0
) -> Picture:
    """
    The picture of a shard in Redis, with the lists that were *found* beside those that its index knows. It costs Redis
    as much as reading the whole shard: not for every minute.
    """
    reply = await storage.scripts.run_long("picture", storage.keys.of(shard), _arguments(found), seconds=seconds)
    counters, _, held, trouble, firsts, *rankings, later, letters, schedules, tubes, layout, old, parked, opened = (
        reply[:-2]
    )
    quarantine, flaws = reply[-2:]
    ready, blocked, oldest, deep, leases, due, dead, identities, occurrences = rankings
    reader = _Reader([_unreadable(text_of(index), member, record) for index, member, record in grouped(flaws, 3)])
    return Picture(
        tubes={
            (text_of(thread), int(priority)): Line(int(head), int(tail), length, _stamp(first) if length > 0 else None)
            for thread, priority, head, tail, length, first in grouped(tubes, 6)
        },
        held=reader.fields("held", held, text_of, _hold),
        trouble=reader.fields("trouble", trouble, _place, _suspects),
        ready=reader.fields("ready", ready, text_of, _moment),
        blocked=reader.fields("blocked", blocked, text_of, _moment_or_never),
        oldest=reader.fields("oldest", oldest, _place, float),
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
        layout=Laid(*map(int, layout.split())) if layout else None,
        old=reader.fields("old", old, text_of, float),
        parked=reader.fields("parked", parked, text_of, float),
        opened=set(reader.fields("opened", opened, int, float)),
        quarantine=reader.fields("quarantine", quarantine, text_of, text_of),
        unreadable=reader.flaws,
    )


class _Reader:
    """Reads records and notes a sentence on each that cannot be read."""

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


def _moment_or_never(score: bytes) -> float:
    return inf if float(score) == inf else _moment(score)


async def found_wrong(storage: RedisStorage, shard: Shard) -> list[str]:
    """
    A sentence for each thing in a shard that does not add up. Where a key holds no value of ours, nothing but these
    keys can be told.
    """
    if wrong := await storage.scripts.wrong_kinds(storage.keys.of(shard)):
        return wrong
    return faults(await picture(storage, shard, await strays(storage, shard)))


def faults(seen: Picture) -> list[str]:
    """A sentence for each thing that does not add up; none when all is well."""
    return [
        *seen.unreadable,
        *(f"in quarantine: {name}: {reason}" for name, reason in seen.quarantine.items()),
        *_tube_faults(seen),
        *_thread_faults(seen),
        *_layout_faults(seen),
        *_hold_faults(seen),
        *_trouble_faults(seen),
        *_identity_faults(seen),
        *_schedule_faults(seen),
        *_counter_faults(seen),
    ]


def _tube_faults(seen: Picture) -> Iterator[str]:
    for (thread, priority), line in seen.tubes.items():
        if line.length < 0:
            yield f"tube {thread}/{priority} is not a list; `check --repair` removes what is there"
        elif line.tail - line.head != line.length:
            held, indexed = counted(line.length, "request"), line.tail - line.head
            yield f"tube {thread}/{priority} holds {held}, its index says {indexed}"
        if line.length == 0:
            yield f"tube {thread}/{priority} is empty and still known"
    for (thread, priority), (next_thread, next_priority) in pairwise(seen.tubes):
        if thread == next_thread and priority > next_priority:
            yield f"thread {thread} has priority {priority} before {next_priority}"
    truth = {place: line.oldest_ms or seen.oldest.get(place) for place, line in seen.tubes.items()}
    yield from _differences("oldest", seen.oldest, truth)


def _thread_faults(seen: Picture) -> Iterator[str]:
    yield from _differences("deep", seen.deep, {thread: depth for thread, depth in seen.depths.items() if depth >= 2})
    free = seen.depths.keys() - seen.held.keys() - seen.blocked.keys()
    if seen.ready.keys() != free - seen.parked.keys():
        yield f"ready are {sorted(seen.ready)}, of those that wait free are {sorted(free - seen.parked.keys())}"


def _layout_faults(seen: Picture) -> Iterator[str]:
    if seen.layout is None:
        yield from _differences("old", seen.old, {})
        yield from _differences("parked", seen.parked, {})
        return
    number = seen.layout.number
    old = {thread: seen.layout.residue(thread, number - 1) for thread in seen.depths}
    yield from _differences(
        "old", seen.old, {thread: residue for thread, residue in old.items() if residue is not None}
    )
    free = seen.depths.keys() - seen.held.keys() - seen.blocked.keys()
    closed = seen.opened | {int(residue) for residue in seen.old.values()}
    parked = {thread: seen.layout.residue(thread, number) for thread in free}
    yield from _differences("parked", seen.parked, {thread: n for thread, n in parked.items() if n in closed})
    if both := seen.opened.intersection(seen.old.values()):
        yield f"open and with old threads are the residue classes {sorted(both)}"


def _hold_faults(seen: Picture) -> Iterator[str]:
    if seen.leases.keys() != seen.held.keys():
        yield f"leases are of {sorted(seen.leases)}, held are {sorted(seen.held)}"
    if both := {thread for thread in seen.held if seen.blocked.get(thread, inf) != inf}:
        yield f"both held and put off: {sorted(both)}"
    for thread, hold in seen.held.items():
        line = seen.tubes.get((thread, hold.priority))
        if hold.first <= hold.last and not (line and line.head == hold.first and hold.last < line.tail):
            yield f"{thread} has {hold.first} to {hold.last} of priority {hold.priority} in hand, its tube is {line}"
        if hold.is_busy != (thread in seen.depths):
            yield f"{thread} is held {'busy' if hold.is_busy else 'drained'} at a depth of {seen.depths.get(thread, 0)}"
        if hold.fence > seen.counters.get("fence", 0):
            yield f"{thread} is held with fence {hold.fence}, above that of the shard"


def _trouble_faults(seen: Picture) -> Iterator[str]:
    for (thread, priority), suspects in seen.trouble.items():
        line = seen.tubes.get((thread, priority))
        if not (line and line.head <= suspects.sequence <= suspects.last < line.tail):
            yield f"{thread}/{priority} has suspects {suspects.sequence} to {suspects.last}, its tube is {line}"


def _identity_faults(seen: Picture) -> Iterator[str]:
    if seen.identities.keys() != seen.firsts.keys():
        yield f"identities are listed as {sorted(seen.identities)}, their first requests as {sorted(seen.firsts)}"
    for identity, first in seen.firsts.items():
        if first.sequence >= seen.counters.get("sequence", 0):
            yield f"{identity} is that of request {first.sequence}, which was never registered"


def _schedule_faults(seen: Picture) -> Iterator[str]:
    if seen.occurrences.keys() != seen.schedules:
        yield f"schedules are {sorted(seen.schedules)}, those that occur next are {sorted(seen.occurrences)}"


def _counter_faults(seen: Picture) -> Iterator[str]:
    if seen.counters.get("depth", 0) != sum(seen.depths.values()):
        yield f"the depth is counted as {seen.counters.get('depth', 0)}, it is {sum(seen.depths.values())}"
    if seen.dead != seen.letters:
        yield f"dead letters are listed as {sorted(seen.dead)}, kept are {sorted(seen.letters)}"
    if seen.due != seen.later:
        yield f"delayed requests are listed as {sorted(seen.due)}, kept are {sorted(seen.later)}"
    if seen.counters.get("dead", 0) < max(seen.letters, default=0):
        yield f"the counter of dead letters is {seen.counters.get('dead', 0)}, below the number of one that is kept"
    if seen.tubes and "born" not in seen.counters:
        yield "there are requests, and no marker says since when"
    highest = max((line.tail for line in seen.tubes.values()), default=0)
    if seen.counters.get("sequence", 0) < highest:
        yield f"the sequence counter is {seen.counters.get('sequence', 0)}, below the tail {highest} of a tube"


def _differences(index: str, kept: dict[Any, float], truth: dict[Any, Any]) -> Iterator[str]:
    for member in kept.keys() | truth.keys():
        if kept.get(member) != truth.get(member):
            yield f"index {index} has {kept.get(member)} for {member}, it is {truth.get(member)}"


def _stamp(message: bytes) -> int | None:
    """The time of a message; None for one without, which counts as new."""
    return int(message[:STAMP_DIGITS]) if message[:STAMP_DIGITS].isdigit() else None


def _place(name: bytes) -> Place:
    thread, _, priority = text_of(name).rpartition("/")
    return thread, int(priority)


def _hold(text: bytes) -> Hold:
    fence, owner, since, _, priority, first, last, *_ = text_of(text).split(" ")
    return Hold(owner, int(fence), since != "0", int(priority), int(first), int(last))


def _suspects(text: bytes) -> Suspects:
    sequence, last, attempts, crashes, _ = text.split(b" ", 4)
    return Suspects(int(sequence), int(last), int(attempts), int(crashes))
