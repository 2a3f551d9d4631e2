"""
A recount: what the indices and counters of a shard say, against what its tubes hold.

`faults` lists what does not add up in a `Snapshot`. The scripts keep every index true step by step, so a fault is a bug
of ours, or someone wrote to our keys. `repair` puts it right.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any

from sharded_queue.backends.redis.scripts import text_of
from sharded_queue.backends.redis.snapshot import (
    QUARANTINED,
    STOPPED,
    Snapshot,
    TubeRecord,
    snapshot,
    tube_arguments,
    unindexed_tubes,
)
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.printable import counted
from sharded_queue.tube import Shard


@dataclass(frozen=True, slots=True)
class Change:
    """A change made by a repair: a member of an index (or a field of a record), before and after; empty if absent."""

    index: str
    member: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.index} {self.member}: {self.was or 'nothing'} is now {self.now or 'nothing'}"


async def repair(storage: RedisStorage, shard: Shard, *, seconds: float = 60.0) -> list[Change]:
    """
    Put the indices and counters of a shard right, from its lists and records; returns the changes.

    One atomic step, so workers may go on meanwhile, but Redis answers nothing else until it ends: seconds for 100,000
    threads. Order and leases are kept, except a lease whose holder has other requests in hand than its tube now begins
    with: the thread is taken back, and the batch is handled again. Some facts cannot be restored: the counts of
    registered and settled requests stay as they are, and delayed requests that lost their time are due now.
    """
    arguments = tube_arguments(await unindexed_tubes(storage, shard))
    reply = await storage.scripts.run_once("repair", storage.keys.of(shard), arguments, seconds=seconds, is_long=True)
    return [Change(*map(text_of, change)) for change in reply]


async def found_wrong(storage: RedisStorage, shard: Shard) -> list[str]:
    """
    A sentence for each fault in a shard. Where keys hold values of another kind than ours, only those keys can be
    named.
    """
    if wrong := await storage.scripts.wrong_kinds(storage.keys.of(shard)):
        return wrong
    return faults(await snapshot(storage, shard, await unindexed_tubes(storage, shard)))


def faults(seen: Snapshot) -> list[str]:
    """A sentence for each fault; none when all is well."""
    return [
        *seen.unreadable,
        *(f"in quarantine: {name}: {reason}" for name, reason in seen.quarantine.items()),
        *_tube_faults(seen),
        *_thread_faults(seen),
        *_layout_faults(seen),
        *_hold_faults(seen),
        *_failure_faults(seen),
        *_identity_faults(seen),
        *_schedule_faults(seen),
        *_history_faults(seen),
        *_counter_faults(seen),
    ]


def _tube_faults(seen: Snapshot) -> Iterator[str]:
    for (thread, priority), tube in seen.tubes.items():
        if tube.length < 0:
            yield f"tube {thread}/{priority} is not a list; `check --repair` removes what is there"
        elif tube.tail - tube.head != tube.length:
            held, indexed = counted(tube.length, "request"), tube.tail - tube.head
            yield f"tube {thread}/{priority} holds {held}, its index says {indexed}"
        if tube.length == 0:
            yield f"tube {thread}/{priority} is empty and still known"
    for (thread, priority), (next_thread, next_priority) in pairwise(seen.tubes):
        if thread == next_thread and priority > next_priority:
            yield f"thread {thread} has priority {priority} before {next_priority}"
    truth = {name: tube.oldest_ms or seen.oldest.get(name) for name, tube in seen.tubes.items()}
    yield from _differences("oldest", seen.oldest, truth)


def _thread_faults(seen: Snapshot) -> Iterator[str]:
    yield from _differences("deep", seen.deep, {thread: depth for thread, depth in seen.depths.items() if depth >= 2})
    for thread, till in seen.blocked.items():
        if till == QUARANTINED and f"thread {thread}" not in seen.quarantine:
            yield f"{thread} is blocked as if it were in quarantine"
    stopped = {thread for thread, till in seen.blocked.items() if till == STOPPED}
    if alone := stopped - seen.exhausted.keys():
        yield f"stopped without a request that is exhausted: {sorted(alone)}"
    for thread, priority in seen.exhausted.items():
        if (thread, priority) not in seen.failures or seen.blocked.get(thread, 0) < QUARANTINED or thread in seen.held:
            yield f"{thread} is exhausted by a request of priority {priority}, and does not stand still for it"
    free = seen.depths.keys() - seen.held.keys() - seen.blocked.keys()
    if seen.ready.keys() != free - seen.parked.keys():
        yield f"ready are {sorted(seen.ready)}, of those that wait free are {sorted(free - seen.parked.keys())}"


def _layout_faults(seen: Snapshot) -> Iterator[str]:
    if seen.layout is None:
        yield from _differences("old", seen.old, {})
        yield from _differences("parked", seen.parked, {})
        return
    number, listed = seen.layout.number, seen.layout.listed(seen.unlisted)
    old = {thread: seen.layout.residue(thread, number - 1) for thread in seen.depths}
    known = {
        thread: residue
        for thread, residue in old.items()
        if residue is not None and (residue < listed or thread in seen.old)
    }
    yield from _differences("old", seen.old, known)
    free = seen.depths.keys() - seen.held.keys() - seen.blocked.keys()
    closed = seen.unparking | {int(residue) for residue in seen.old.values()} | set(range(listed, seen.layout.classes))
    parked = {thread: seen.layout.residue(thread, number) for thread in free}
    yield from _differences("parked", seen.parked, {thread: n for thread, n in parked.items() if n in closed})
    if both := seen.unparking.intersection(seen.old.values()):
        yield f"open and with old threads are the residue classes {sorted(both)}"


def _hold_faults(seen: Snapshot) -> Iterator[str]:
    if seen.leases.keys() != seen.held.keys():
        yield f"leases are of {sorted(seen.leases)}, held are {sorted(seen.held)}"
    if both := {thread for thread in seen.held if seen.blocked.get(thread, inf) < QUARANTINED}:
        yield f"both held and put off: {sorted(both)}"
    for thread, hold in seen.held.items():
        tube = seen.tubes.get((thread, hold.priority))
        if hold.first <= hold.last and not (tube and tube.head == hold.first and hold.last < tube.tail):
            in_hand = f"{hold.first} to {hold.last} of priority {hold.priority}"
            yield f"{thread} has {in_hand} in hand, its tube {_numbers(tube)}"
        if hold.is_busy != (thread in seen.depths):
            yield f"{thread} is held {'busy' if hold.is_busy else 'drained'} at a depth of {seen.depths.get(thread, 0)}"
        if hold.fence > seen.counters.get("fence", 0):
            yield f"{thread} is held with fence {hold.fence}, above that of the shard"


def _failure_faults(seen: Snapshot) -> Iterator[str]:
    for (thread, priority), suspects in seen.failures.items():
        tube = seen.tubes.get((thread, priority))
        if not (tube and tube.head <= suspects.sequence <= suspects.last < tube.tail):
            yield f"{thread}/{priority} has suspects {suspects.sequence} to {suspects.last}, its tube {_numbers(tube)}"


def _numbers(tube: TubeRecord | None) -> str:
    return f"has {tube.head} to {tube.tail - 1}" if tube else "does not exist"


def _identity_faults(seen: Snapshot) -> Iterator[str]:
    if seen.identities.keys() != seen.firsts.keys():
        yield f"identities are listed as {sorted(seen.identities)}, their first requests as {sorted(seen.firsts)}"
    for identity, first in seen.firsts.items():
        if first.sequence >= seen.counters.get("sequence", 0):
            yield f"{identity} is that of request {first.sequence}, which was never registered"


def _schedule_faults(seen: Snapshot) -> Iterator[str]:
    if seen.occurrences.keys() != seen.schedules:
        yield f"schedules are {sorted(seen.schedules)}, those that occur next are {sorted(seen.occurrences)}"


def _history_faults(seen: Snapshot) -> Iterator[str]:
    if seen.failed != seen.history:
        yield f"threads that failed are {sorted(seen.failed)}, failures are kept of {sorted(seen.history)}"


def _counter_faults(seen: Snapshot) -> Iterator[str]:
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
    highest = max((tube.tail for tube in seen.tubes.values()), default=0)
    if seen.counters.get("sequence", 0) < highest:
        yield f"the sequence counter is {seen.counters.get('sequence', 0)}, below the tail {highest} of a tube"


def _differences(index: str, kept: dict[Any, float], truth: dict[Any, Any]) -> Iterator[str]:
    for member in kept.keys() | truth.keys():
        if kept.get(member) != truth.get(member):
            yield f"index {index} has {kept.get(member)} for {member}, it is {truth.get(member)}"
