"""
A shard in memory: its state, and what the steps in `steps/` share, on the same indices as `lua/_prelude.lua` in Redis.

Times are milliseconds and come in as arguments, so that leases and back-offs are tested without waiting.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import gcd, inf
from typing import NamedTuple

from sortedcontainers import SortedDict, SortedList, SortedSet

from sharded_queue.backends.memory.scored_set import ScoredSet
from sharded_queue.coordinator import Arrival
from sharded_queue.lease import Lease, worker_of
from sharded_queue.printable import counted
from sharded_queue.serializer import STAMP_DIGITS, key_hash_in
from sharded_queue.state import About, Dead, Drop, PastFailure, PausedBy, Progress, Report, TubeState
from sharded_queue.storage import Batch, Entry, First, Schedule
from sharded_queue.tube import Layout, Shard, Tube

DROPS_KEPT = 1000
FAILURES_KEPT, FAILED_THREADS_KEPT, FAILURES_KEPT_MS = 10, 1000, 86_400_000
ERROR_CHARACTERS = 500
STOPPED = 2 * 10**14
"""Until when a thread is blocked that stands still for a request without tries: no time has as many digits."""
STEP_MS = 1000
"""A clock that is set back by less is left alone."""


@dataclass(slots=True)
class TubeBuffer:
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
class HoldRecord:
    """A bound thread. Its holder has nothing in hand while *last* < *first*. It is drained while *since_ms* is 0."""

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
    handed_after: int | None = None
    """The last call after which a request was handed to the holder that had come to the drained thread."""
    is_alone: bool = False
    """Whether the worker has nothing in a call but the request in hand."""

    @property
    def is_unasked(self) -> bool:
        """Whether what is in hand came after the holder's last call: the holder may not know of it yet."""
        return self.handed_after == self.call

    def is_answered(self, call: int | None) -> bool:
        """Whether a numbered call was carried out already, so that it must not be carried out again."""
        return call is not None and call <= self.call


class FailureRecord(NamedTuple):
    """A failure at the head of a tube: the requests from *sequence* to *last* are handed out one by one."""

    sequence: int
    last: int
    attempts: int = 0
    crashes: int = 0
    error: str = ""


class MemoryShard:
    """The state of one shard. *on_wake* is called when a thread may be bound, or a held one got a request."""

    def __init__(self, shard: Shard, on_wake: Callable[[], None]) -> None:
        self.id, self.on_wake, self.is_rung = shard, on_wake, False
        self.threads: dict[str, SortedDict[int, TubeBuffer]] = {}
        self.ready, self.blocked, self.leases, self.deep = ScoredSet(), ScoredSet(), ScoredSet(), ScoredSet()
        self.oldest = ScoredSet()
        self.held: dict[str, HoldRecord] = {}
        self.arrivals: dict[str, deque[Arrival]] = {}
        """By owner, what came for drained threads that it holds, until it waits for that."""
        self.failures: dict[tuple[str, int], FailureRecord] = {}
        self.history: dict[str, list[PastFailure]] = {}
        self.letters: dict[int, Dead] = {}
        self.acts: dict[str, str] = {}
        self.pauses: dict[str, PausedBy] = {}
        self.exhausted: dict[str, tuple[int, int]] = {}
        """By thread, the priority of the request without tries for which it stands still, and since when."""
        self.resumes = ScoredSet()
        self.drops: deque[Drop] = deque(maxlen=DROPS_KEPT)
        self.due: SortedList[tuple[int, int, Entry]] = SortedList()
        self.cancelled: dict[int, int] = {}
        self.identities = ScoredSet()
        self.firsts: dict[str, First] = {}
        self.named: dict[int, str] = {}
        """By number, the identities of delayed requests."""
        self.schedules: dict[str, Schedule] = {}
        self.last_occurrences: dict[str, First] = {}
        self.occurrences = ScoredSet()
        self.layout: Layout | None = None
        self.before = 0
        self.old, self.parked = ScoredSet(), ScoredSet()
        self.unparking: SortedSet[int] = SortedSet()
        self.is_paused = False
        self.cordoned: dict[str, int] = {}
        self.workers: dict[str, tuple[About, int]] = {}
        self.reports: dict[str, tuple[int, Report, int]] = {}
        self.depth = self.registered = self.settled = self.dead = self.sequence = self.fence = self.duplicates = 0
        self.busy_seconds = 0.0
        self.born: int | None = None
        self.polled_ms: int | None = None
        self.latest_ms = 0

    # What is asked about the shard.

    def tube(self, thread: str, priority: int) -> TubeBuffer | None:
        tubes = self.threads.get(thread)
        return tubes.get(priority) if tubes else None

    def held_by(self, lease: Lease) -> HoldRecord | None:
        held = self.held.get(lease.thread)
        return held if held and held.fence == lease.fence else None

    def is_thread_paused(self, thread: str) -> bool:
        """Whether new requests of a thread are withheld: the handler or the thread is paused, or stopped."""
        return self.is_paused or self.blocked.score(thread) in (inf, STOPPED)

    def has_failed(self, thread: str, priority: int) -> bool:
        """Whether the first request of a tube has failed."""
        failure = self.failures.get((thread, priority))
        if failure is None or failure.sequence != self.threads[thread][priority].head:
            return False
        return TubeState(priority, 0, 0.0, failure.attempts, failure.crashes, failure.error).has_failed

    def is_pause_over(self, name: str, now: int) -> bool:
        """Whether the pause of a thread, or with '' that of the handler, is over though no worker polled since."""
        ends = self.resumes.score(name)
        return ends is not None and ends <= now

    def paused_threads(self) -> list[str]:
        """Threads that are paused one by one."""
        return self.blocked.at(inf, len(self.blocked))

    def is_cordoned(self, owner: str, now: int) -> bool:
        return self.cordoned.get(worker_of(owner), 0) > now

    def note_worker(self, owner: str, about: About | None, now: int) -> None:
        """What a worker tells of itself, if it does."""
        if about:
            self.workers[owner] = about, now

    def note_report(self, lease: Lease, report: Report | None, now: int) -> None:
        """What a handler reports of the batch in its hands, if it does. Within a batch, progress goes forward only."""
        if not report:
            return
        fence, known, _ = self.reports.get(lease.thread, (0, report, 0))
        if (fence, known.first) != (lease.fence, report.first) or known.done <= report.done:
            self.reports[lease.thread] = lease.fence, report, now

    def progress_of(self, thread: str, now: int) -> Progress | None:
        """What the holder of a thread reported of the batch in its hands."""
        held, noted = self.held.get(thread), self.reports.get(thread)
        if held is None or noted is None or held.last < held.first:
            return None
        fence, report, at_ms = noted
        if (fence, report.first) != (held.fence, held.first):
            return None
        return Progress(report.done, report.of, report.note, max(0, now - at_ms) / 1000)

    def seconds_to_occurrence(self, now: int) -> float | None:
        """Until the next occurrence of a schedule; None if there are no schedules."""
        return next((max(moment - now, 0) / 1000 for _, moment in self.occurrences.lowest(1)), None)

    def wake(self) -> None:
        """Wake one worker: one that waits now, or the next one to wait."""
        self.is_rung = True
        self.on_wake()

    def must_wake(self, owner: str) -> bool:
        """Whether a thread may be bound, or one that *owner* holds drained got a request."""
        return self.is_rung or (len(self.ready) > 0 and not self.is_paused) or owner in self.arrivals

    def take_arrival(self, owner: str) -> Arrival | None:
        """What came first of that for which *owner* has not waited yet."""
        if owner not in self.arrivals:
            return None
        arrival = self.arrivals[owner].popleft()
        if not self.arrivals[owner]:
            del self.arrivals[owner]
        return arrival

    # Requests come.

    def begin(self, now: int) -> None:
        """With its first request, the shard gets its marker."""
        if self.born is None:
            self.born = now * 1000

    def append(self, entry: Entry, start: int, stamp: int, *, is_alone: bool = False) -> int:
        """
        *start* is above all numbers the tube ever gave: the shard's counter grows by the requests of all tubes.
        *is_alone*: this is one request, and nothing else is registered with it.
        """
        thread, priority, bodies, _ = entry
        tubes = self.threads.setdefault(thread, SortedDict())
        before = depth_of(tubes)
        tube = tubes.get(priority)
        if tube is None:
            tube = tubes[priority] = TubeBuffer(start)
            self.oldest.put(f"{thread}/{priority}", stamp)
            self.index_older(thread, stamp)
        first = tube.tail
        tube.messages.extend(b"%013d" % stamp + body for body in bodies)
        self.depth += len(bodies)
        self.index_depth(thread, tubes)
        if before == 0:
            self.arrive(thread, is_alone=is_alone)
        return first

    def promote(self, now: int) -> None:
        """Delayed requests that are due move into their tubes, and count as registered at the time they were due."""
        while self.due and self.due[0][0] <= now:
            due, number, entry = self.due.pop(0)
            self.named.pop(number, None)
            self.join(entry, due)

    def join(self, entry: Entry, stamp: int) -> int:
        """One request joins the tail of its tube, registered at *stamp*, where the layout in force places it."""
        entry = entry._replace(thread=self.thread_in_force(entry.thread, entry.bodies[0]))
        self.sequence += 1
        return self.append(entry, self.sequence - 1, stamp)

    def arrive(self, thread: str, *, is_alone: bool = False) -> None:
        """
        The first request of an empty thread wakes its holder, or makes the thread ready. If the request came alone, a
        holder that waits for it gets it at once.
        """
        if held := self.held.get(thread):
            held.since_ms = int(self.oldest[f"{thread}/{next(iter(self.threads[thread]))}"])
            lease = Lease(self.id, thread, held.owner, held.fence)
            batch = None
            if is_alone and self._is_awaited(thread, held):
                batch, held.handed_after = self.hand_out(lease, held, 1, 0, held.since_ms), held.call
            self.arrivals.setdefault(held.owner, deque()).append(Arrival(lease, held.call, batch))
            self.on_wake()
        else:
            self.make_ready(thread)

    def _is_awaited(self, thread: str, held: HoldRecord) -> bool:
        """Whether the first request of a drained thread may be handed out to its holder."""
        is_withheld = self.is_paused or thread in self.blocked
        return held.last < held.first and not is_withheld

    def make_ready(self, thread: str, *, is_unparked: bool = False) -> None:
        if (tubes := self.threads.get(thread)) and thread not in self.blocked:
            if not is_unparked and (residue := self._parking_class(thread)) is not None:
                self.parked.put(thread, residue)
                return
            self.ready.put(thread, min(self.oldest[f"{thread}/{priority}"] for priority in tubes))
            self.wake()

    def thread_in_force(self, thread: str, body: bytes) -> str:
        """Where a request goes now: one routed by key follows the layout in force, whenever it was registered."""
        key_hash = key_hash_in(body)
        return thread if key_hash is None or self.layout is None else self.layout.thread(key_hash)

    def _parking_class(self, thread: str) -> int | None:
        """
        The residue class of a thread that waits for old ones. Threads of two layouts can share keys only if their
        numbers have the same remainder modulo the greatest common divisor of the two numbers of threads.
        """
        if self.layout is None or not (len(self.old) or self.unparking):
            return None
        number, _, rank = thread.partition(":")
        if number != str(self.layout.number) or not rank.isdecimal():
            return None
        residue = int(rank) % gcd(self.layout.threads, self.before)
        return residue if self.old.at(residue, 1) or residue in self.unparking else None

    def index_older(self, thread: str, stamp: float) -> None:
        """A ready thread is as old as its oldest request, even one that comes later: delayed, or handled in vain."""
        if (since := self.ready.score(thread)) is not None and stamp < since:
            self.ready.put(thread, stamp)

    def index_depth(self, thread: str, tubes: SortedDict[int, TubeBuffer]) -> None:
        if (depth := depth_of(tubes)) >= 2:
            self.deep.put(thread, depth)
        else:
            self.deep.discard(thread)

    # Requests are handed out.

    def hand_out(self, lease: Lease, held: HoldRecord, wanted: int, room: int, now: int) -> Batch:
        """The next requests of a bound thread: at most *wanted* of one tube, one by one while a failure is isolated."""
        priority = self._next_priority(lease.thread, held.ageing_ms, now)
        tube = self.threads[lease.thread][priority]
        count = min(wanted, len(tube.messages))
        failure = self.failures.get((lease.thread, priority))
        if failure and tube.head <= failure.last:
            count = min(count, 1)
        messages = first_messages(tube.messages, count, room)
        held.priority, held.first, held.last = priority, tube.head, tube.head + len(messages) - 1
        held.is_alone = False
        held.since_ms = held.since_ms or now
        return self.in_hand(lease, held)

    def in_hand(self, lease: Lease, held: HoldRecord) -> Batch:
        """What `hand_out` returned, again."""
        tube = self.threads[lease.thread][held.priority]
        failure = self.failures.get((lease.thread, held.priority))
        is_tried = failure is not None and failure.sequence == tube.head
        attempts, crashes = (failure.attempts, failure.crashes) if failure and is_tried else (0, 0)
        messages = [tube.messages[index] for index in range(held.last + 1 - held.first)]
        place = Tube(self.id, lease.thread, held.priority)
        return Batch(lease, place, tube.head, messages, attempts + crashes + 1, crashes)

    def _next_priority(self, thread: str, ageing_ms: int, now: int) -> int:
        """The lowest priority, less one step for every *ageing_ms* that the first request of its tube has waited."""
        tubes = self.threads[thread]
        if ageing_ms == 0:
            return int(tubes.peekitem(0)[0])

        def aged(priority: int) -> int:
            return priority - max(0, now - int(self.oldest[f"{thread}/{priority}"])) // ageing_ms

        return min(tubes, key=aged)

    # Requests go, and threads become free.

    def pop_requests(self, thread: str, priority: int, count: int) -> None:
        tubes = self.threads[thread]
        tube = tubes[priority]
        for _ in range(count):
            tube.messages.popleft()
        tube.head += count
        self.depth -= count
        self._clear_failure(thread, priority, tube.head - 1)
        if tube.messages:
            self.oldest.put(f"{thread}/{priority}", tube.oldest_ms)
        else:
            self.oldest.discard(f"{thread}/{priority}")
            del tubes[priority]
        self.index_depth(thread, tubes)
        if not tubes:
            del self.threads[thread]
            self._index_drained(thread)

    def dead_letter(
        self, thread: str, priority: int, attempts: int, reason: str, now: int, traceback: str = ""
    ) -> None:
        """The first request of a tube becomes a dead letter."""
        self.bury(thread, priority, 0, attempts, reason, now, traceback)
        self.pop_requests(thread, priority, 1)

    def bury(
        self, thread: str, priority: int, place: int, attempts: int, reason: str, now: int, traceback: str = ""
    ) -> int:
        """Keep the request at a place in its tube as a dead letter; returns the number of the letter."""
        tube = self.threads[thread][priority]
        self.dead += 1
        sequence, message = tube.head + place, tube.messages[place]
        self.letters[self.dead] = Dead(self.dead, thread, priority, sequence, now, attempts, reason, message, traceback)
        return self.dead

    def remove_behind(self, thread: str, priority: int, places: Sequence[int]) -> None:
        """Remove the requests at these places, which ascend, and none of which is the first, from a tube."""
        tube = self.threads[thread][priority]
        for place in reversed(places):
            del tube.messages[place]
            self._clear_removed(thread, priority, tube.head + place)
        self.depth -= len(places)
        self.index_depth(thread, self.threads[thread])

    def expire(self, thread: str, crash_limit: float, now: int, *, stops: bool = False) -> None:
        """Free a thread whose holder is gone. *stops*: a request without tries stops its thread."""
        held = self.held[thread]
        self.let_go(thread)
        self._count_crash(thread, held, crash_limit, now, stops=stops)
        self.make_ready(thread)

    def stop(self, thread: str, priority: int, now: int) -> None:
        """
        The tries of the first request of a tube are used up. Its thread stands still, with the request in its place,
        until a person resumes it. A pause stays.
        """
        self.exhausted[thread] = priority, now
        if self.blocked.score(thread) != inf:
            self.blocked.put(thread, STOPPED)

    def unblock(self, thread: str) -> bool:
        """What blocks a thread has ended; returns whether that changed something. Beside a stop, the stop is left."""
        before = self.blocked.score(thread)
        if thread in self.exhausted:
            self.blocked.put(thread, STOPPED)
        else:
            self.blocked.discard(thread)
        return before != self.blocked.score(thread)

    def end_stop(self, thread: str) -> bool:
        """
        A thread no longer stands still for a request without tries; returns whether that ended its wait. A pause stays.
        """
        self.exhausted.pop(thread, None)
        is_over = self.blocked.score(thread) == STOPPED
        if is_over:
            self.blocked.discard(thread)
        return is_over

    def try_anew(self, thread: str) -> bool:
        """
        The request for which a thread stands still gets all of its tries again; returns whether that ended the wait of
        the thread.
        """
        tube = thread, self.exhausted[thread][0]
        if failure := self.failures.get(tube):
            self.failures[tube] = failure._replace(attempts=0, crashes=0)
        return self.end_stop(thread)

    def note_failed(self, thread: str, failure: PastFailure) -> None:
        """Keep a failure: the last ten of a thread, for a day, of the last 1,000 threads."""
        failure = failure._replace(error=failure.error[:ERROR_CHARACTERS])
        self.history[thread] = [failure, *self.history.pop(thread, [])][:FAILURES_KEPT]
        first, oldest = next(iter(self.history.items()))
        if len(self.history) > FAILED_THREADS_KEPT or oldest[0].failed_ms <= failure.failed_ms - FAILURES_KEPT_MS:
            del self.history[first]

    def let_go(self, thread: str) -> None:
        self.leases.discard(thread)
        self.held.pop(thread, None)
        self.reports.pop(thread, None)

    def hold_back(self, thread: str, moment_ms: int) -> None:
        """No worker binds a thread that was let go before *moment_ms*. A pause lasts longer."""
        if self.blocked.score(thread) != inf:
            self.blocked.put(thread, moment_ms)
        self.wake()

    def _count_crash(self, thread: str, held: HoldRecord, crash_limit: float, now: int, *, stops: bool) -> None:
        """
        A worker died with requests in hand: they are handed out one by one from here on, and one that keeps killing its
        workers becomes a dead letter, or stops its thread: only when its worker had nothing else in a call, for else
        another request may have killed it. A request that the worker may never have heard of is not to blame.
        """
        tube = self.tube(thread, held.priority)
        if held.last < held.first or held.is_unasked or tube is None or tube.head > held.last:
            return
        failure = self.failures.get((thread, held.priority))
        if failure is None or failure.last < tube.head or tube.head < failure.sequence:
            failure = FailureRecord(tube.head, max(held.last, failure.last if failure else held.last))
        failure = failure._replace(crashes=failure.crashes + 1)
        attempt = failure.attempts + failure.crashes
        self.note_failed(thread, PastFailure(now, held.priority, tube.head, attempt, f"{held.owner} died"))
        is_exhausted = held.is_alone and failure.crashes >= crash_limit
        if is_exhausted:
            workers = counted(failure.crashes, "worker")
            reason = f"{workers} died with this request in hand, the last one while it handled nothing else"
            failure = failure._replace(error=reason)
        if is_exhausted and not stops:
            self.dead_letter(thread, held.priority, attempt, failure.error, now)
            return
        self.failures[thread, held.priority] = failure
        if is_exhausted:
            self.stop(thread, held.priority, now)

    def _clear_removed(self, thread: str, priority: int, sequence: int) -> None:
        """A request behind the first of its tube is gone: those behind it move up by one."""
        failure = self.failures.get((thread, priority))
        if failure is None or sequence > failure.last:
            return
        if sequence == failure.sequence:
            failure = FailureRecord(failure.sequence, failure.last)
        moved = failure._replace(sequence=failure.sequence - (sequence < failure.sequence), last=failure.last - 1)
        if moved.last >= moved.sequence:
            self.failures[thread, priority] = moved
        else:
            del self.failures[thread, priority]

    def _clear_failure(self, thread: str, priority: int, through: int) -> None:
        """
        Requests up to *through* are cleared of suspicion; the rest of the span stays suspected: where the span was in
        the hand of a worker that died, so was each of its requests.
        """
        failure = self.failures.get((thread, priority))
        if failure is None or through < failure.sequence:
            return
        if through >= failure.last:
            del self.failures[thread, priority]
        else:
            self.failures[thread, priority] = FailureRecord(through + 1, failure.last, crashes=min(failure.crashes, 1))

    def _index_drained(self, thread: str) -> None:
        """When the last old thread of a residue class is drained, the threads that wait for the class may be bound."""
        residue = self.old.score(thread)
        self.old.discard(thread)
        if residue is not None and not self.old.at(residue, 1) and self.parked.at(residue, 1):
            self.unparking.add(int(residue))
            self.wake()

    # The clock.

    def follow_clock(self, now: int) -> None:
        """
        Waits are kept as the moment at which they end. When the clock was set back, all of them are brought forward by
        as much, so that none takes longer than was asked for.
        """
        back = self.latest_ms - now
        if abs(back) < STEP_MS:
            return
        self.latest_ms = now
        if back > 0:
            self._bring_forward(back)

    def _bring_forward(self, by: int) -> None:
        for waits in (self.blocked, self.identities):
            for member, score in waits.lowest(len(waits)):
                if score < STOPPED:
                    waits.put(member, score - by)
        due = [(moment - by, number, entry) for moment, number, entry in self.due]
        self.due.clear()
        self.due.update(due)
        self.cordoned = {name: till - by for name, till in self.cordoned.items()}
        for name, schedule in self.schedules.items():
            if not schedule.timing.cron:  # cron lines go by the clock on the wall
                self.occurrences.put(name, self.occurrences[name] - by)


class MemoryShards:
    """The shards of a storage, its clock, and the listeners that are called when a thread may be bound."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock = clock
        self.listeners: set[Callable[[], None]] = set()
        self._shards: dict[Shard, MemoryShard] = {}

    def __getitem__(self, shard: Shard) -> MemoryShard:
        if shard not in self._shards:
            self._shards[shard] = MemoryShard(shard, self._wake)
        return self._shards[shard]

    def _wake(self) -> None:
        for listener in tuple(self.listeners):
            listener()


def depth_of(tubes: SortedDict[int, TubeBuffer]) -> int:
    return sum(len(tube.messages) for tube in tubes.values())


def share_of(room: int, sharing: int) -> int:
    """The bytes that each of *sharing* threads may take of the remaining *room*."""
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
