"""
What a storage says of itself: the values that a reader gets, whether it is an operator, a command or a metric.

Nothing here is written back, and nothing here asks a storage. Times are milliseconds of the storage's own clock, and
durations are seconds.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import Literal, NamedTuple

from sharded_queue.lease import worker_of
from sharded_queue.tube import Layout, Shard, Tube

UNCONSUMED_SECONDS = 60.0
"""Longer than a worker that serves a handler takes between two looks for threads: an idle one looks every few seconds,
and a busy one when a thread has had its turn."""


State = Literal["bound", "quarantined", "paused", "parked", "blocked", "ready"]
"""
What becomes of a thread, the first of these that is true: a worker holds it; a record of it cannot be read; it, or its
whole handler, is paused; it
waits for threads of the layout before; it backs off after a failure; it waits for a worker.
"""


class Upcoming(NamedTuple):
    """A schedule with the text of its timing, and when it occurs next."""

    name: str
    timing: str
    thread: str
    priority: int
    body: bytes
    next_ms: int

    @property
    def next_at(self) -> datetime:
        return datetime.fromtimestamp(self.next_ms / 1000, UTC)


class Delayed(NamedTuple):
    """A request whose time has not come: its number is that of its registration, as its receipt has it."""

    tube: Tube
    sequence: int
    due_ms: int
    body: bytes
    """As in an `Entry`."""

    @property
    def due_at(self) -> datetime:
        return datetime.fromtimestamp(self.due_ms / 1000, UTC)


class TubeLag(NamedTuple):
    """A tube, the age of its oldest request, and what becomes of its thread."""

    thread: str
    priority: int
    depth: int
    lag_seconds: float
    state: State = "ready"


class Hold(NamedTuple):
    """
    A bound thread: who holds it, and for how long it has had requests without a break since. The lease ends in
    *lease_seconds* unless it is renewed; below 0 it has ended, and any worker that looks takes the thread over.
    """

    thread: str
    owner: str
    fence: int
    busy_seconds: float
    lease_seconds: float = inf

    @property
    def worker(self) -> str:
        return worker_of(self.owner)


class Dead(NamedTuple):
    """
    A dead letter; *number* is its own in its shard, for ever. *traceback* is that of the last try, its end where it is
    long; empty where no handler raised.
    """

    number: int
    thread: str
    priority: int
    sequence: int
    died_ms: int
    attempts: int
    error: str
    message: bytes
    traceback: str = ""


class TubeState(NamedTuple):
    """A tube with requests. *attempts* and *crashes* are those of its first request, *error* the last one's."""

    priority: int
    depth: int
    lag_seconds: float
    attempts: int = 0
    crashes: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class ThreadState:
    """
    What decides whether a thread moves.

    *lease_seconds*: until the lease of *owner* ends; once it has ended, nobody holds the thread. The owner has
    *in_hand* requests in its handler, and has had requests for *busy_seconds* without a break. *bound*: threads of the
    shard that workers hold; *looked_seconds*: since a worker last asked for threads, None when none ever did.
    *blocked_seconds*: until the thread may be bound again; infinite while it is paused, None when nothing blocks it.
    *ahead*: threads that are bound before it; None unless it is ready. *waits_for*: threads of the layout before, 100
    at most, that have to be drained first; None unless it is parked.
    *flaw*: what about it cannot be read, so that it is given to no worker until it is repaired.
    """

    thread: str
    tubes: list[TubeState]
    is_handler_paused: bool = False
    owner: str | None = None
    lease_seconds: float | None = None
    blocked_seconds: float | None = None
    ahead: int | None = None
    waits_for: list[str] | None = None
    flaw: str | None = None
    in_hand: int = 0
    busy_seconds: float | None = None
    bound: int = 0
    looked_seconds: float | None = None

    @property
    def is_held(self) -> bool:
        """Whether a worker holds the thread by a lease that lasts."""
        return self.owner is not None and self.lease_seconds is not None and self.lease_seconds > 0


@dataclass(frozen=True, slots=True)
class ShardState:
    """
    What a shard looks like now, read in one atomic step at a cost of O(worst + holds), whatever the number of threads.

    *depth* counts requests not yet settled, those in the hands of a worker included; *delayed* those whose time has
    not come, or came a moment ago (*overdue*: they take their places with the next look of a worker, as do those of
    *schedules* whose time has come). *layout*: how
    keys are spread over threads, None where nothing was routed by key; *undrained*: threads of the layout before that
    have requests; *parked*: threads that share keys with those and wait for them, with *parked_depth* requests (those
    of the first 1,000 of them). No worker can hold a parked thread, and none is in *deepest*, which otherwise lists
    the deepest threads among those with two requests or more, at most *worst* of them; every thread that is not listed
    is no deeper than the last one. *oldest* lists the tubes with the oldest heads. *born* is the marker of the shard's
    data: it changes only when the data were wiped; None means that nothing was ever registered here. *is_paused*: no
    requests of the whole shard are given out; *paused*: threads of which none are, among the *blocked* ones. *bound*
    counts leases that last; a thread whose lease has ended is *ready*, though its `Hold` is listed until a worker takes
    it over. *letters*: dead letters that are there now. The counters (*registered*, *settled*, *dead*, *busy_seconds*,
    and *duplicates*: requests that were left out) only grow, as long as *born* is the same. *looked_seconds*: since a
    worker last asked for threads; None when none ever did. *quarantined*: threads, delayed requests and schedules whose
    records cannot be read; they wait for a repair, and all others go on.
    """

    shard: Shard
    depth: int = 0
    threads: int = 0
    ready: int = 0
    bound: int = 0
    blocked: int = 0
    lag_seconds: float = 0.0
    deepest: list[tuple[str, int]] = field(default_factory=list)
    oldest: list[TubeLag] = field(default_factory=list)
    held: list[Hold] = field(default_factory=list)
    registered: int = 0
    settled: int = 0
    dead: int = 0
    busy_seconds: float = 0.0
    born: int | None = None
    is_paused: bool = False
    delayed: int = 0
    overdue: int = 0
    duplicates: int = 0
    schedules: int = 0
    looked_seconds: float | None = None
    layout: Layout | None = None
    undrained: int = 0
    parked: int = 0
    parked_depth: int = 0
    quarantined: int = 0
    letters: int = 0
    paused: int = 0

    @property
    def is_known(self) -> bool:
        """Whether anything ever happened here, as a registration, a look of a worker or a pause, or is left of it."""
        left = self.threads or self.blocked or self.letters or self.delayed or self.schedules or self.quarantined
        return self.born is not None or self.looked_seconds is not None or self.is_paused or bool(left or self.held)

    @property
    def unlisted_holds(self) -> int:
        """Bound threads that are not in *held*."""
        return max(0, self.bound - sum(hold.lease_seconds > 0 for hold in self.held))

    @property
    def is_unconsumed(self) -> bool:
        """Whether requests wait that nobody serves: no worker holds one of their threads, or has asked for them."""
        is_looked_at = self.looked_seconds is not None and self.looked_seconds < UNCONSUMED_SECONDS
        return self.lag_seconds >= UNCONSUMED_SECONDS and not self.bound and not is_looked_at


def busy_seconds(since_ms: int, now: int) -> float:
    """For how long a held thread has had requests; never 0 while it has some, whatever became of the clock."""
    return max(1, now - since_ms) / 1000 if since_ms else 0.0
