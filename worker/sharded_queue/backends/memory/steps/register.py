"""Append requests to tubes, all or nothing, without those that were registered a short while before."""

from collections.abc import Sequence

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.storage import (
    MOST_PRIORITIES,
    Entry,
    First,
    LayoutChanged,
    Registered,
    Registration,
    priorities_full,
    queue_full,
)
from sharded_queue.tube import Layout, Tube


def register(shard: MemoryShard, registration: Registration, now: int) -> Registered:
    """Without a window, duplicates are not left out, and requests need no identities."""
    _check_layout(shard, registration.layout)
    if not registration.window_seconds:
        return Registered(_append(shard, registration.entries, registration, now), {})
    shard.follow_clock(now)
    _forget_identities(shard, now)
    fresh, repeated = _distinct(shard, registration.entries)
    firsts = _append(shard, fresh, registration, now)
    _remember_identities(shard, fresh, firsts, now + max(1, int(registration.window_seconds * 1000)))
    if registration.delay_seconds:
        _name_delayed(shard, fresh, firsts)
    shard.duplicates += len(repeated)
    return Registered(firsts, {where: shard.firsts[identity] for where, identity in repeated.items()})


def _append(shard: MemoryShard, entries: Sequence[Entry], registration: Registration, now: int) -> list[int]:
    """The sequence number of each entry's first request; 0 where the entry is empty."""
    delay_ms = int(registration.delay_seconds * 1000)
    for entry in entries:
        _check_room(shard, entry, registration.capacity)
    if not delay_ms:
        _check_priorities(shard, entries)
    shard.begin(now)
    shard.layout = shard.layout or registration.layout
    if delay_ms:
        shard.follow_clock(now)
    start, total, firsts, is_alone = shard.sequence, 0, [], len(entries) == 1 and len(entries[0].bodies) == 1
    for entry in entries:
        firsts.append(_keep(shard, entry, start + total, delay_ms, now, is_alone) if entry.bodies else 0)
        total += len(entry.bodies)
    shard.sequence += total
    shard.registered += total
    return firsts


def _check_layout(shard: MemoryShard, layout: Layout | None) -> None:
    if layout and shard.layout and layout != shard.layout:
        raise LayoutChanged(shard.layout)


def _check_room(shard: MemoryShard, entry: Entry, capacity: int | None) -> None:
    buffer = shard.tube(entry.thread, entry.priority)
    depth = len(buffer.messages) if buffer else 0
    if capacity and entry.bodies and depth + len(entry.bodies) > capacity:
        tube = Tube(shard.id, entry.thread, entry.priority)
        raise queue_full(tube, depth, capacity)


def _check_priorities(shard: MemoryShard, entries: Sequence[Entry]) -> None:
    """A thread may have a bounded number of priorities; a request that joins a tube needs no new one."""
    opened: dict[str, set[int]] = {}
    for thread, priority, bodies, _ in entries:
        if bodies and not shard.tube(thread, priority):
            opened.setdefault(thread, set()).add(priority)
    for thread, priorities in opened.items():
        count = len(shard.threads.get(thread, ()))
        if count + len(priorities) > MOST_PRIORITIES:
            raise priorities_full(shard.id, thread, count)


def _keep(shard: MemoryShard, entry: Entry, start: int, delay_ms: int, now: int, is_alone: bool) -> int:
    if delay_ms:
        return _delay(shard, entry, start, now + delay_ms)
    return shard.append(entry, start, now, is_alone=is_alone)


def _delay(shard: MemoryShard, entry: Entry, start: int, due: int) -> int:
    for index, body in enumerate(entry.bodies):
        shard.due.add((due, start + index, Entry(entry.thread, entry.priority, [body])))
    shard.wake()
    return start


def _forget_identities(shard: MemoryShard, now: int) -> None:
    for identity in shard.identities.up_to(now):
        shard.identities.discard(identity)
        del shard.firsts[identity]


def _remember_identities(shard: MemoryShard, fresh: Sequence[Entry], firsts: Sequence[int], till: int) -> None:
    for first, (thread, priority, _, identities) in zip(firsts, fresh, strict=True):
        for index, identity in enumerate(identities):
            shard.identities.put(identity, till)
            shard.firsts[identity] = First(thread, priority, first + index)


def _name_delayed(shard: MemoryShard, fresh: Sequence[Entry], firsts: Sequence[int]) -> None:
    for first, entry in zip(firsts, fresh, strict=True):
        shard.named.update(enumerate(entry.identities, first))


def _distinct(shard: MemoryShard, entries: Sequence[Entry]) -> tuple[list[Entry], dict[tuple[int, int], str]]:
    """The entries without duplicates; and the identity of each duplicate, by number of its entry and index there."""
    fresh: list[Entry] = []
    taken: set[str] = set()
    repeated: dict[tuple[int, int], str] = {}
    for number, (thread, priority, bodies, identities) in enumerate(entries):
        new: dict[str, bytes] = {}
        for index, (body, identity) in enumerate(zip(bodies, identities, strict=True)):
            if identity in taken or identity in shard.firsts:
                repeated[number, index] = identity
            else:
                taken.add(identity)
                new[identity] = body
        fresh.append(Entry(thread, priority, list(new.values()), list(new)))
    return fresh, repeated
