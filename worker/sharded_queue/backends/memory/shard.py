"""
A shard in memory: the same steps as the Lua scripts, in the same order, on the same indices.

The contract suite runs over both, and the model test compares them after every step. Times are milliseconds and come in
as arguments, so that leases and back-offs are tested without waiting.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import gcd, inf
from typing import NamedTuple

from sortedcontainers import SortedDict, SortedList, SortedSet

from sharded_queue.errors import QueueFull
from sharded_queue.lease import Lease
from sharded_queue.printable import counted
from sharded_queue.serializer import STAMP_DIGITS, mark_in
from sharded_queue.state import (
    Dead,
    Delayed,
    Hold,
    ShardState,
    State,
    ThreadState,
    TubeLag,
    TubeState,
    Upcoming,
    busy_seconds,
)
from sharded_queue.storage import (
    Batch,
    Entry,
    Failure,
    First,
    LayoutChanged,
    Registered,
    Resharded,
    Schedule,
    Settled,
    Settlement,
    Target,
    unfinished,
)
from sharded_queue.tube import Layout, Shard, Tube

STEP_MS = 1000
"""A clock that is set back by less is left alone."""

FAILED_START = re.compile(r"cannot start \((\d+)\): ")
SWEEP = 1000
"""Parked threads that one bind makes ready at most."""


REMEMBERED_MS = 600_000
"""How long a cancelled delayed request is remembered, so that a call that is sent again has the same answer."""


class Ranking:
    """Members by score, lowest first: what a sorted set is to Redis. Every step costs O(log n)."""

    def __init__(self) -> None:
        self._scores: dict[str, float] = {}
        self._ranked: SortedList[tuple[float, str]] = SortedList()

    def __len__(self) -> int:
        return len(self._scores)

    def __contains__(self, member: str) -> bool:
        return member in self._scores

    def __getitem__(self, member: str) -> float:
        return self._scores[member]

    def rank(self, member: str) -> int | None:
        """How many members are before this one."""
        score = self._scores.get(member)
        return None if score is None else self._ranked.index((score, member))

    def score(self, member: str) -> float | None:
        return self._scores.get(member)

    def put(self, member: str, score: float) -> None:
        self.discard(member)
        self._scores[member] = score
        self._ranked.add((score, member))

    def discard(self, member: str) -> None:
        if (score := self._scores.pop(member, None)) is not None:
            self._ranked.remove((score, member))

    def pop_lowest(self) -> str:
        _, member = self._ranked.pop(0)
        del self._scores[member]
        return member

    def lowest(self, count: int) -> list[tuple[str, float]]:
        return [(member, score) for score, member in self._ranked[:count]]

    def highest(self, count: int) -> list[tuple[str, float]]:
        return [(member, score) for score, member in self._ranked[: -count - 1 : -1]]

    def up_to(self, score: float) -> list[str]:
        return [member for _, member in self._ranked[: self._ranked.bisect_right((score, "\U0010ffff"))]]

    def at(self, score: float, count: int) -> list[str]:
        """The first *count* members of a score."""
        first = self._ranked.bisect_left((score, ""))
        return [member for found, member in self._ranked[first : first + count] if found == score]

    def above(self, score: float) -> list[str]:
        return [member for _, member in self._ranked[self._ranked.bisect_right((score, "\U0010ffff")) :]]


@dataclass(slots=True)
class Line:
    """The requests of one tube; the first one has sequence number *head*."""

    head: int
    messages: deque[bytes] = field(default_factory=deque)

    @property
    def tail(self) -> int:
        return self.head + len(self.messages)

    @property
    def oldest_ms(self) -> int:
        return int(self.messages[0][:STAMP_DIGITS])


@dataclass(slots=True)
class Held:
    """A bound thread; nothing is in its holder's hands while *last* < *first*; drained while *since_ms* is 0."""

    fence: int
    owner: str
    since_ms: int
    lease_ms: int
    ageing_ms: int
    priority: int = 0
    first: int = 0
    last: int = -1
    call: int = 0
    """Number of the holder's last call that was carried out."""

    def is_answered(self, call: int | None) -> bool:
        """Whether a numbered call was carried out, and is not to be carried out again."""
        return call is not None and call <= self.call


class Trouble(NamedTuple):
    """A failure that is being dealt with: the requests from *sequence* to *last* are handed out one by one."""

    sequence: int
    last: int
    attempts: int = 0
    crashes: int = 0
    error: str = ""


class Book:
    """All that is known of one shard. *notify* is called when a thread may be bound or a held one got a request."""

    def __init__(self, shard: Shard, notify: Callable[[], None]) -> None:
        self.shard, self.notify, self.is_rung = shard, notify, False
        self.threads: dict[str, SortedDict[int, Line]] = {}
        self.ready, self.blocked, self.leases, self.deep = Ranking(), Ranking(), Ranking(), Ranking()
        self.oldest = Ranking()
        self.held: dict[str, Held] = {}
        self.trouble: dict[tuple[str, int], Trouble] = {}
        self.letters: dict[int, Dead] = {}
        self.due: SortedList[tuple[int, int, Entry]] = SortedList()
        self.cancelled: dict[int, int] = {}
        self.identities = Ranking()
        self.firsts: dict[str, First] = {}
        self.plans: dict[str, Schedule] = {}
        self.occurrences = Ranking()
        self.layout: Layout | None = None
        self.before = 0
        self.old, self.parked = Ranking(), Ranking()
        self.opened: SortedSet[int] = SortedSet()
        self.is_paused = False
        self.dismissed: dict[str, int] = {}
        self.depth = self.registered = self.settled = self.dead = self.sequence = self.fence = self.duplicates = 0
        self.busy_seconds = 0.0
        self.born: int | None = None
        self.looked_ms: int | None = None
        self.latest_ms = 0

    def register(
        self, entries: Sequence[Entry], capacity: int | None, delay_ms: int, layout: Layout | None, now: int
    ) -> list[int]:
        self._check_layout(layout)
        for entry in entries:
            self._check_room(entry, capacity)
        self._begin(now)
        self.layout = self.layout or layout
        if delay_ms:
            self.follow_clock(now)
        start, total, firsts = self.sequence, 0, []
        for entry in entries:
            put = self._put_off if delay_ms else self._append
            firsts.append(put(entry, start + total, now + delay_ms) if entry.bodies else 0)
            total += len(entry.bodies)
        self.sequence += total
        self.registered += total
        return firsts

    def _begin(self, now: int) -> None:
        if self.born is None:
            self.born = now * 1000

    def register_once(
        self,
        entries: Sequence[Entry],
        window_ms: int,
        capacity: int | None,
        delay_ms: int,
        layout: Layout | None,
        now: int,
    ) -> Registered:
        self._check_layout(layout)
        self.follow_clock(now)
        for identity in self.identities.up_to(now):
            self.identities.discard(identity)
            del self.firsts[identity]
        fresh, repeated = self._distinct(entries)
        firsts = self.register(fresh, capacity, delay_ms, layout, now)
        for first, (thread, priority, _, identities) in zip(firsts, fresh, strict=True):
            for place, identity in enumerate(identities):
                self.identities.put(identity, now + window_ms)
                self.firsts[identity] = First(thread, priority, first + place)
        self.duplicates += len(repeated)
        return Registered(firsts, {place: self.firsts[identity] for place, identity in repeated.items()})

    def _distinct(self, entries: Sequence[Entry]) -> tuple[list[Entry], dict[tuple[int, int], str]]:
        """What is new, in the same entries, and the identities of what is not, by entry and place in it."""
        fresh: list[Entry] = []
        taken: set[str] = set()
        repeated: dict[tuple[int, int], str] = {}
        for number, (thread, priority, bodies, identities) in enumerate(entries):
            new: dict[str, bytes] = {}
            for place, (body, identity) in enumerate(zip(bodies, identities, strict=True)):
                if identity in taken or identity in self.firsts:
                    repeated[number, place] = identity
                else:
                    taken.add(identity)
                    new[identity] = body
            fresh.append(Entry(thread, priority, list(new.values()), list(new)))
        return fresh, repeated

    def _check_layout(self, layout: Layout | None) -> None:
        if layout and self.layout and layout != self.layout:
            raise LayoutChanged(self.layout)

    def _check_room(self, entry: Entry, capacity: int | None) -> None:
        line = self._line(entry.thread, entry.priority)
        depth = len(line.messages) if line else 0
        if capacity and entry.bodies and depth + len(entry.bodies) > capacity:
            tube = Tube(self.shard, entry.thread, entry.priority)
            raise QueueFull(f"tube {tube} holds {depth} of {capacity} requests; try again when workers have caught up")

    def _append(self, entry: Entry, start: int, stamp: int) -> int:
        """*start* is above all numbers the tube ever gave: the shard's counter grows by the requests of all tubes."""
        thread, priority, bodies, _ = entry
        lines = self.threads.setdefault(thread, SortedDict())
        before = depth_of(lines)
        line = lines.get(priority)
        if line is None:
            line = lines[priority] = Line(start)
            self.oldest.put(f"{thread}/{priority}", stamp)
            self._note_older(thread, stamp)
        first = line.tail
        line.messages.extend(b"%013d" % stamp + body for body in bodies)
        self.depth += len(bodies)
        self._note_depth(thread, lines)
        if before == 0:
            self._arrive(thread)
        return first

    def _put_off(self, entry: Entry, start: int, due: int) -> int:
        for place, body in enumerate(entry.bodies):
            self.due.add((due, start + place, Entry(entry.thread, entry.priority, [body])))
        self.awaken()
        return start

    def _promote(self, now: int) -> None:
        """Delayed requests whose time has come take their places; they count as registered then."""
        while self.due and self.due[0][0] <= now:
            due, _, entry = self.due.pop(0)
            entry = entry._replace(thread=self._place(entry.thread, entry.bodies[0]))
            self._append(entry, self.sequence, due)
            self.sequence += 1

    def delayed(self, count: int) -> list[Delayed]:
        return [
            Delayed(Tube(self.shard, entry.thread, entry.priority), number, due, entry.bodies[0])
            for due, number, entry in self.due[:count]
        ]

    def cancel(self, numbers: Sequence[int], now: int) -> list[int]:
        waiting = {number: (due, number, entry) for due, number, entry in self.due}
        for number in waiting.keys() & set(numbers):
            self.due.discard(waiting[number])
            self.cancelled[number] = now
        self.cancelled = {number: at for number, at in self.cancelled.items() if at > now - REMEMBERED_MS}
        return [number for number in numbers if number in self.cancelled]

    def schedule(self, schedule: Schedule, layout: Layout | None, now: int) -> int:
        self.follow_clock(now)
        self.layout = self.layout or layout
        known = self.plans.get(schedule.name)
        if known is None or known.timing != schedule.timing:
            self.occurrences.put(schedule.name, schedule.timing.after(now))
        self._begin(now)
        self.plans[schedule.name] = schedule
        self.awaken()
        return int(self.occurrences[schedule.name])

    def unschedule(self, name: str) -> bool:
        self.occurrences.discard(name)
        return self.plans.pop(name, None) is not None

    def upcoming(self) -> list[Upcoming]:
        return [
            Upcoming(name, str(plan.timing), plan.thread, plan.priority, plan.body, int(moment))
            for name, moment in self.occurrences.lowest(len(self.occurrences))
            for plan in [self.plans[name]]
        ]

    def occur(self, now: int) -> float | None:
        self.follow_clock(now)
        self._promote(now)
        for name in self.occurrences.up_to(now):
            plan, moment = self.plans[name], int(self.occurrences[name])
            thread = self._place(plan.thread, plan.body)
            self._append(Entry(thread, plan.priority, [plan.body]), self.sequence, moment)
            self.sequence += 1
            self.registered += 1
            self.occurrences.put(name, plan.timing.after(now, moment))
        return self.occurs_seconds(now)

    def occurs_seconds(self, now: int) -> float | None:
        """Until a schedule occurs; None if there is none."""
        return next((max(moment - now, 0) / 1000 for _, moment in self.occurrences.lowest(1)), None)

    def reshard(self, threads: int) -> Resharded:
        if self.layout is None:
            self.layout = Layout(1, threads)
            return Resharded(self.layout, 0, is_changed=True)
        if self.layout.threads == threads:
            return Resharded(self.layout, len(self.old), is_changed=False)
        if len(self.old) or self.opened:
            raise unfinished(self.shard, self.layout, len(self.old), threads)
        self.before = self.layout.threads
        step = gcd(threads, self.before)
        for place in range(self.before):
            if (thread := self.layout.thread(place)) in self.threads:
                self.old.put(thread, place % step)
        self.layout = Layout(self.layout.number + 1, threads)
        return Resharded(self.layout, len(self.old), is_changed=True)

    def _place(self, thread: str, body: bytes) -> str:
        """A request that was routed by key is placed by the layout in force, whatever was when it was registered."""
        mark = mark_in(body)
        return thread if mark is None or self.layout is None else self.layout.thread(mark)

    def _parking(self, thread: str) -> int | None:
        """
        Its residue class, if a thread waits for old ones: threads of two layouts can share keys only if their numbers
        leave the same rest, divided by the common divisor of how many threads the layouts have.
        """
        if self.layout is None or not (len(self.old) or self.opened):
            return None
        number, _, place = thread.partition(":")
        if number != str(self.layout.number) or not place.isdecimal():
            return None
        residue = int(place) % gcd(self.layout.threads, self.before)
        return residue if self.old.at(residue, 1) or residue in self.opened else None

    def _note_drained(self, thread: str) -> None:
        """With the last old thread of its residue class, those that wait for it may be bound."""
        residue = self.old.score(thread)
        self.old.discard(thread)
        if residue is not None and not self.old.at(residue, 1) and self.parked.at(residue, 1):
            self.opened.add(int(residue))
            self.awaken()

    def _unpark(self) -> None:
        """Parked threads whose old ones are drained become ready, so many at a time."""
        left = SWEEP
        while left and self.opened:
            residue = self.opened[0]
            threads = self.parked.at(residue, left)
            for thread in threads:
                self.parked.discard(thread)
                self._make_ready(thread, is_unparked=True)
            if len(threads) < left:
                self.opened.discard(residue)
            left -= len(threads)

    def _arrive(self, thread: str) -> None:
        """The first request of an empty thread: its holder is called, or the thread becomes ready."""
        if held := self.held.get(thread):
            held.since_ms = int(self.oldest[f"{thread}/{next(iter(self.threads[thread]))}"])
            self.notify()
        else:
            self._make_ready(thread)

    def bind(
        self,
        owner: str,
        threads: int,
        wanted: int,
        lease_ms: int,
        ageing_ms: int,
        crash_limit: int,
        room: int,
        now: int,
    ) -> list[Batch]:
        """*room*: bytes of all messages together, but for one that is larger alone."""
        self.follow_clock(now)
        self._clamp_leases(now + lease_ms, now)
        for thread in self.leases.up_to(now):
            self._expire(thread, crash_limit, now)
        for thread in self.blocked.up_to(now):
            self.blocked.discard(thread)
            self._make_ready(thread)
        self._promote(now)
        self._unpark()
        batches: list[Batch] = []
        threads = 0 if wanted < 1 or self.is_dismissed(owner, now) else threads
        self.looked_ms = now if threads > 0 else self.looked_ms
        sharing = 0 if self.is_paused else min(threads, len(self.ready))
        for left in range(sharing, 0, -1):
            if batches and room <= 0:
                break
            thread = self.ready.pop_lowest()
            self.fence = max(self.fence + 1, now * 1000)
            held = self.held[thread] = Held(self.fence, owner, now, lease_ms, ageing_ms)
            self.leases.put(thread, now + lease_ms)
            lease = Lease(self.shard, thread, owner, self.fence)
            batches.append(self._hand_out(lease, held, wanted, share_of(room, left), now))
            room -= batches[-1].bytes
        return batches

    def follow_clock(self, now: int) -> None:
        """
        A wait is kept as the moment when it ends, which a clock that was set back reaches too late: then all of them
        end earlier by as much, so that none is longer than what was asked for.
        """
        back = self.latest_ms - now
        if abs(back) < STEP_MS:
            return
        self.latest_ms = now
        if back > 0:
            self._bring_forward(back)

    def _bring_forward(self, by: int) -> None:
        for ranking in (self.blocked, self.identities):
            for member, score in ranking.lowest(len(ranking)):
                ranking.put(member, score - by)
        due = [(moment - by, number, entry) for moment, number, entry in self.due]
        self.due.clear()
        self.due.update(due)
        self.dismissed = {name: till - by for name, till in self.dismissed.items()}
        for name, plan in self.plans.items():
            if not plan.timing.cron:  # cron lines go by the clock on the wall
                self.occurrences.put(name, self.occurrences[name] - by)

    def is_dismissed(self, owner: str, now: int) -> bool:
        return self.dismissed.get(owner.partition("/")[0], 0) > now

    def next_ms(self, now: int) -> int | None:
        """Until the next lease expires or the next back-off ends."""
        moments: list[float] = [score for ranking in (self.leases, self.blocked) for _, score in ranking.lowest(1)]
        moments += [due for due, _, _ in self.due[:1]]
        finite = [moment for moment in moments if moment != inf]
        return max(int(min(finite)) - now, 0) if finite else None

    def _clamp_leases(self, latest: int, now: int) -> None:
        """A clock that was set back must not freeze a thread: no lease ends later than a full lease from now."""
        for thread in self.leases.above(latest):
            self.leases.put(thread, min(self.leases[thread], now + self.held[thread].lease_ms))

    def _expire(self, thread: str, crash_limit: int, now: int) -> None:
        held = self.held[thread]
        self._let_go(thread)
        self._count_crash(thread, held, crash_limit, now)
        self._make_ready(thread)

    def _count_crash(self, thread: str, held: Held, crash_limit: int, now: int) -> None:
        line = self._line(thread, held.priority)
        if held.last < held.first or line is None or line.head > held.last:
            return
        trouble = self.trouble.get((thread, held.priority))
        if trouble is None or trouble.last < line.head or line.head < trouble.sequence:
            trouble = Trouble(line.head, held.last)
        trouble = trouble._replace(crashes=trouble.crashes + 1)
        if held.first == held.last and trouble.crashes >= crash_limit:
            reason = f"{counted(trouble.crashes, 'worker')} died with this request in hand"
            self._bury(thread, held.priority, trouble.attempts + trouble.crashes, reason, now)
        else:
            self.trouble[thread, held.priority] = trouble

    def _hand_out(self, lease: Lease, held: Held, wanted: int, room: int, now: int) -> Batch:
        priority = self._next_priority(lease.thread, held.ageing_ms, now)
        line = self.threads[lease.thread][priority]
        count = min(wanted, len(line.messages))
        trouble = self.trouble.get((lease.thread, priority))
        if trouble and line.head <= trouble.last:
            count = min(count, 1)
        messages = first_messages(line.messages, count, room)
        held.priority, held.first, held.last = priority, line.head, line.head + len(messages) - 1
        held.since_ms = held.since_ms or now
        return self._in_hand(lease, held)

    def _in_hand(self, lease: Lease, held: Held) -> Batch:
        line = self.threads[lease.thread][held.priority]
        trouble = self.trouble.get((lease.thread, held.priority))
        is_tried = trouble is not None and trouble.sequence == line.head
        attempt = trouble.attempts + trouble.crashes + 1 if trouble and is_tried else 1
        messages = [line.messages[place] for place in range(held.last + 1 - held.first)]
        return Batch(lease, Tube(self.shard, lease.thread, held.priority), line.head, messages, attempt)

    def _next_priority(self, thread: str, ageing_ms: int, now: int) -> int:
        """The lowest one, counting a step less for each *ageing_ms* that the first request of its tube waited."""
        priorities = self.threads[thread]
        if ageing_ms == 0:
            return int(priorities.peekitem(0)[0])

        def aged(priority: int) -> int:
            return priority - max(0, now - int(self.oldest[f"{thread}/{priority}"])) // ageing_ms

        return min(priorities, key=aged)

    def settle(self, settlement: Settlement, room: int, now: int) -> Settled:
        lease, priority, through, busy_seconds, *_, call = settlement
        self._promote(now)
        if not (held := self._holds(lease)):
            return Settled(is_lost=True)
        line = self._line(lease.thread, priority)
        was_settled = through is not None and (line is None or line.head > through)
        if was_settled or held.is_answered(call):
            return Settled(self._in_hand(lease, held) if held.first <= held.last else None)
        if through is not None and line:
            if held.priority != priority or through > held.last:
                return Settled(is_lost=True)
            self.busy_seconds += busy_seconds
            self.settled += through + 1 - line.head
            self._drop(lease.thread, priority, through + 1 - line.head)
        held.call = held.call if call is None else call
        return self._go_on(settlement, held, room, now)

    def _go_on(self, settlement: Settlement, held: Held, room: int, now: int) -> Settled:
        """What becomes of a lease once its report was settled."""
        lease, wanted, release, is_over = settlement.lease, settlement.wanted, settlement.release, settlement.is_over
        if wanted > 0 and self._is_paused(lease.thread):
            wanted, release = 0, True
        if is_over and wanted > 0 and lease.thread in self.threads and self._others_wait(lease.thread, now):
            return self._yield(lease.thread, now)
        if wanted > 0 and lease.thread in self.threads:
            return Settled(self._hand_out(lease, held, wanted, room, now))
        if release or is_over:
            self._let_go(lease.thread)
            self._make_ready(lease.thread)
            return Settled(is_released=True)
        held.first = held.last + 1
        if lease.thread not in self.threads:
            held.since_ms = 0
        return Settled()

    def _others_wait(self, thread: str, now: int) -> bool:
        """
        Whether another thread lacks a worker. Back-offs that are over, leases that expired and threads that nothing
        parks any more become ready with the next call of `bind`, which nobody makes while all workers are busy.
        """
        is_expired = any(expired != thread for expired in self.leases.up_to(now))
        return is_expired or bool(len(self.ready) or self.opened or self.blocked.up_to(now))

    def _yield(self, thread: str, now: int) -> Settled:
        """The turn of a thread is over: it lines up behind those that wait now."""
        self._let_go(thread)
        self.ready.put(thread, now + 1)  # behind those of this very millisecond too
        self.awaken()
        return Settled(is_released=True)

    def fail(self, failure: Failure, now: int) -> bool:
        lease, priority, sequence, attempt, error, delay_seconds, call, traceback, _ = failure
        if not (held := self._holds(lease)):
            return False
        line = self._line(lease.thread, priority)
        if line is None or line.head > sequence or held.is_answered(call):
            return True
        if held.priority != priority or line.head != sequence or sequence > held.last:
            return False
        held.call = held.call if call is None else call
        if delay_seconds is None:
            self._bury(lease.thread, priority, attempt, error, now, traceback)
            held.first, held.last = sequence + 1, sequence
            if lease.thread not in self.threads:
                held.since_ms = 0
        else:
            delay_ms = self._note_attempt(failure, max(0, int(delay_seconds * 1000)))
            self.follow_clock(now)
            self._let_go(lease.thread)
            if self.blocked.score(lease.thread) != inf:  # a pause lasts longer
                self.blocked.put(lease.thread, now + delay_ms)
            self.awaken()
        return True

    def _note_attempt(self, failure: Failure, delay_ms: int) -> int:
        """How long the thread waits: longer with each failed start in a row."""
        place = failure.lease.thread, failure.priority
        trouble = self.trouble.get(place)
        if trouble is None or trouble.sequence != failure.sequence:
            trouble = Trouble(failure.sequence, failure.sequence)
        error = failure.error
        if failure.cap_seconds is not None:
            before = FAILED_START.match(trouble.error)
            starts = (int(before[1]) if before else 0) + 1
            delay_ms = int(min(failure.cap_seconds * 1000, delay_ms << min(starts - 1, 60)))
            error = f"cannot start ({starts}): {error}"
        self.trouble[place] = trouble._replace(attempts=failure.attempt - trouble.crashes, error=error)
        return delay_ms

    def pause(self, thread: str | None, is_paused: bool) -> bool:
        if thread is None:
            changed, self.is_paused = self.is_paused != is_paused, is_paused
        elif is_paused:
            changed = self.blocked.score(thread) != inf
            self.blocked.put(thread, inf)
            self.ready.discard(thread)
            self.parked.discard(thread)
        else:
            changed = thread in self.blocked
            self.blocked.discard(thread)
            if thread not in self.held:
                self._make_ready(thread)
        self.awaken()
        return changed

    def _is_paused(self, thread: str) -> bool:
        return self.is_paused or self.blocked.score(thread) == inf

    def settle_dead(self, numbers: Sequence[int], target: Target) -> list[int]:
        done = []
        for number in numbers:
            letter = self.letters.get(number)
            if letter:
                letter = letter._replace(thread=self._place(letter.thread, letter.message[STAMP_DIGITS:]))
            if letter and not (target == "head" and letter.thread in self.held):
                if target != "drop":
                    self._put_back(letter, target)
                del self.letters[number]
                done.append(number)
        return done

    def _put_back(self, letter: Dead, target: Target) -> None:
        thread, priority = letter.thread, letter.priority
        lines = self.threads.setdefault(thread, SortedDict())
        before = depth_of(lines)
        line = lines.setdefault(priority, Line(self.sequence + 1))
        if target == "head":
            line.messages.appendleft(letter.message)
            line.head -= 1
        else:
            line.messages.append(letter.message)
        self.sequence += 2
        self.depth += 1
        self.oldest.put(f"{thread}/{priority}", line.oldest_ms)
        self._note_older(thread, line.oldest_ms)
        self._note_depth(thread, lines)
        if before == 0:
            self._arrive(thread)

    def evict(self, names: set[str]) -> list[str]:
        freed = [thread for thread, held in self.held.items() if held.owner.partition("/")[0] in names]
        for thread in freed:
            self._let_go(thread)
            self._make_ready(thread)
        return freed

    def awaken(self) -> None:
        """Somebody should look: one who waits now, or the next one to wait."""
        self.is_rung = True
        self.notify()

    def is_calling(self, owner: str) -> bool:
        """Whether a thread may be bound, or one that *owner* holds drained got a request."""
        return (
            self.is_rung
            or (len(self.ready) > 0 and not self.is_paused)
            or any(held.owner == owner and held.since_ms and held.last < held.first for held in self.held.values())
        )

    def renew(self, lease: Lease, lease_ms: int, now: int) -> bool:
        if not self._holds(lease):
            return False
        self.leases.put(lease.thread, now + lease_ms)
        return True

    def release(self, lease: Lease) -> None:
        if self._holds(lease):
            self._let_go(lease.thread)
            self._make_ready(lease.thread)

    def observe(self, worst: int, holds: int, now: int) -> ShardState:
        lags = [self._tube_lag(name, int(stamp), now) for name, stamp in self.oldest.lowest(max(worst, 1))]
        return ShardState(
            shard=self.shard,
            depth=self.depth,
            threads=len(self.threads),
            ready=len(self.ready) + sum(self._is_lapsed(thread) for thread in self.leases.up_to(now)),
            bound=len(self.leases.above(now)),
            blocked=len(self.blocked),
            lag_seconds=lags[0].lag_seconds if lags else 0.0,
            deepest=[(thread, int(depth)) for thread, depth in self.deep.highest(worst) if thread not in self.parked],
            oldest=lags,
            held=list(self._holds_now(holds, [lag.thread for lag in lags], now)),
            registered=self.registered,
            settled=self.settled,
            dead=self.dead,
            busy_seconds=self.busy_seconds,
            born=self.born,
            is_paused=self.is_paused,
            delayed=len(self.due),
            overdue=sum(due <= now for due, _, _ in self.due) + len(self.occurrences.up_to(now)),
            looked_seconds=None if self.looked_ms is None else max(0, now - self.looked_ms) / 1000,
            duplicates=self.duplicates,
            schedules=len(self.plans),
            layout=self.layout,
            undrained=len(self.old),
            parked=len(self.parked),
            parked_depth=sum(depth_of(self.threads[thread]) for thread, _ in self.parked.lowest(SWEEP)),
            letters=len(self.letters),
            paused=len(self.paused()),
        )

    def _is_lapsed(self, thread: str) -> bool:
        """Whether a thread whose lease has ended is ready, though no worker has looked since."""
        return thread in self.threads and thread not in self.blocked

    def paused(self) -> list[str]:
        """Threads that are paused one by one."""
        return self.blocked.at(inf, len(self.blocked))

    def explain(self, thread: str, now: int) -> ThreadState:
        held, blocked = self.held.get(thread), self.blocked.score(thread)
        return ThreadState(
            thread=thread,
            tubes=[
                self._tube_state(thread, priority, line, now) for priority, line in self.threads.get(thread, {}).items()
            ],
            is_handler_paused=self.is_paused,
            owner=held.owner if held else None,
            lease_seconds=(self.leases[thread] - now) / 1000 if held else None,
            blocked_seconds=None if blocked is None else (blocked - now) / 1000,
            ahead=self.ready.rank(thread),
            waits_for=self.old.at(self.parked[thread], 100) if thread in self.parked else None,
            in_hand=max(0, held.last - held.first + 1) if held else 0,
            busy_seconds=None if held is None else busy_seconds(held.since_ms, now),
            bound=len(self.leases.above(now)),
            looked_seconds=None if self.looked_ms is None else (now - self.looked_ms) / 1000,
        )

    def _tube_state(self, thread: str, priority: int, line: Line, now: int) -> TubeState:
        lag_seconds = max(0, now - line.oldest_ms) / 1000
        trouble = self.trouble.get((thread, priority))
        if trouble is None or trouble.sequence != line.head:
            return TubeState(priority, len(line.messages), lag_seconds)
        attempts, crashes, error = trouble.attempts, trouble.crashes, trouble.error
        return TubeState(priority, len(line.messages), lag_seconds, attempts, crashes, error)

    def peek(self, tube: Tube, count: int, room: int) -> list[tuple[int, bytes]]:
        line = self._line(tube.thread, tube.priority)
        return list(enumerate(first_messages(line.messages, count, room), line.head)) if line else []

    def _tube_lag(self, name: str, stamp: int, now: int) -> TubeLag:
        thread, _, priority = name.rpartition("/")
        depth = len(self.threads[thread][int(priority)].messages)
        return TubeLag(thread, int(priority), depth, max(0, now - stamp) / 1000, self._state_of(thread, now))

    def _state_of(self, thread: str, now: int) -> State:
        if thread in self.held and self.leases[thread] > now:
            return "bound"
        if self._is_paused(thread):
            return "paused"
        if thread in self.parked:
            return "parked"
        return "ready" if self.blocked.score(thread) is None else "blocked"

    def _line(self, thread: str, priority: int) -> Line | None:
        lines = self.threads.get(thread)
        return lines.get(priority) if lines else None

    def _holds_now(self, holds: int, waiting: Sequence[str], now: int) -> Iterator[Hold]:
        listed = dict.fromkeys([*[thread for thread, _ in self.leases.lowest(holds)], *waiting])
        for thread, held in [(thread, self.held[thread]) for thread in listed if thread in self.held]:
            lease_seconds = (self.leases[thread] - now) / 1000
            yield Hold(thread, held.owner, held.fence, busy_seconds(held.since_ms, now), lease_seconds)

    def _holds(self, lease: Lease) -> Held | None:
        held = self.held.get(lease.thread)
        return held if held and held.fence == lease.fence else None

    def _let_go(self, thread: str) -> None:
        self.leases.discard(thread)
        self.held.pop(thread, None)

    def _make_ready(self, thread: str, *, is_unparked: bool = False) -> None:
        if (lines := self.threads.get(thread)) and thread not in self.blocked:
            if not is_unparked and (residue := self._parking(thread)) is not None:
                self.parked.put(thread, residue)
                return
            self.ready.put(thread, min(self.oldest[f"{thread}/{priority}"] for priority in lines))
            self.awaken()

    def _note_older(self, thread: str, stamp: float) -> None:
        """A ready thread is as old as its oldest request, also if that comes later: put off, or handled in vain."""
        if (since := self.ready.score(thread)) is not None and stamp < since:
            self.ready.put(thread, stamp)

    def _drop(self, thread: str, priority: int, count: int) -> None:
        lines = self.threads[thread]
        line = lines[priority]
        for _ in range(count):
            line.messages.popleft()
        line.head += count
        self.depth -= count
        self._clear_trouble(thread, priority, line.head - 1)
        if line.messages:
            self.oldest.put(f"{thread}/{priority}", line.oldest_ms)
        else:
            self.oldest.discard(f"{thread}/{priority}")
            del lines[priority]
        self._note_depth(thread, lines)
        if not lines:
            del self.threads[thread]
            self._note_drained(thread)

    def _clear_trouble(self, thread: str, priority: int, through: int) -> None:
        """What was suspected up to *through* proved innocent; the rest of the span stays under suspicion."""
        trouble = self.trouble.get((thread, priority))
        if trouble is None or through < trouble.sequence:
            return
        if through >= trouble.last:
            del self.trouble[thread, priority]
        else:
            self.trouble[thread, priority] = Trouble(through + 1, trouble.last)

    def _bury(self, thread: str, priority: int, attempts: int, reason: str, now: int, traceback: str = "") -> None:
        line = self.threads[thread][priority]
        self.dead += 1
        letter = Dead(self.dead, thread, priority, line.head, now, attempts, reason, line.messages[0], traceback)
        self.letters[self.dead] = letter
        self._drop(thread, priority, 1)

    def _note_depth(self, thread: str, lines: SortedDict[int, Line]) -> None:
        if (depth := depth_of(lines)) >= 2:
            self.deep.put(thread, depth)
        else:
            self.deep.discard(thread)


def share_of(room: int, sharing: int) -> int:
    """The bytes that each of *sharing* threads may take of what is left."""
    return max(0, room // sharing)


def first_messages(messages: Iterable[bytes], count: int, room: int) -> list[bytes]:
    """The first *count* messages, or as many of them as fit into *room* bytes, at least one."""
    taken: list[bytes] = []
    for message in islice(messages, count):
        room -= len(message)
        if taken and room < 0:
            break
        taken.append(message)
    return taken


def depth_of(lines: SortedDict[int, Line]) -> int:
    return sum(len(line.messages) for line in lines.values())


class Books:
    """The books of all shards, one clock, and those who want to know when there is something to do."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock = clock
        self.listeners: set[Callable[[], None]] = set()
        self._books: dict[Shard, Book] = {}

    def __getitem__(self, shard: Shard) -> Book:
        if shard not in self._books:
            self._books[shard] = Book(shard, self._awaken)
        return self._books[shard]

    def _awaken(self) -> None:
        for listener in tuple(self.listeners):
            listener()
