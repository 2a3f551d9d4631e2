"""
What a storage reports about itself: values for people, metrics and the operator.

Nothing here is written back, and nothing here calls a storage. Times are milliseconds by the storage's own clock;
durations are seconds.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import Literal, NamedTuple

from sharded_queue.lease import worker_of
from sharded_queue.tube import Layout, Shard, Tube

UNCONSUMED_SECONDS = 60.0
"""
Longer than a worker takes between two polls: an idle one polls every few seconds, and a busy one whenever a thread's
turn ends.
"""

TOLD_SECONDS = 30.0
"""A worker that runs tells of itself three times in this time."""

State = Literal["failing", "bound", "quarantined", "paused", "exhausted", "parked", "blocked", "ready"]
"""
The state of a thread: the first of these that is true. A worker tries its first request again, after a failure; a
worker holds it; one of its records cannot be read; it or its whole handler is paused; it stands still for a request
without tries; it waits for threads of the previous layout; it backs off after a failure; it waits for a worker.
"""
HELD_STATES: tuple[State, State] = ("failing", "bound")
"""Those of a thread that a worker holds."""


class Upcoming(NamedTuple):
    """A schedule, the text of its timing, and when it occurs next."""

    name: str
    timing: str
    thread: str
    priority: int
    body: bytes
    next_ms: int
    skip_if_waiting: bool = False

    @property
    def next_at(self) -> datetime:
        """When it occurs next, in UTC."""
        return datetime.fromtimestamp(self.next_ms / 1000, UTC)


class Delayed(NamedTuple):
    """A request whose time has not come. *sequence* is the number of its registration, as in its receipt."""

    tube: Tube
    sequence: int
    due_ms: int
    body: bytes
    """As in an `Entry`."""

    @property
    def due_at(self) -> datetime:
        """When it joins its tube, in UTC."""
        return datetime.fromtimestamp(self.due_ms / 1000, UTC)


class TubeLag(NamedTuple):
    """A tube, the age of its oldest request, and the state of its thread."""

    thread: str
    priority: int
    depth: int
    lag_seconds: float
    state: State = "ready"


class Hold(NamedTuple):
    """
    A bound thread: its holder, and for how long it has had requests without a break. The lease ends in *lease_seconds*
    unless it is renewed. Below 0 it has ended, and any worker that polls takes the thread over. *in_hand* is the number
    of requests that its handler has.
    """

    thread: str
    owner: str
    fence: int
    busy_seconds: float
    lease_seconds: float = inf
    in_hand: int = 0

    @property
    def worker(self) -> str:
        """The name of the worker that holds the thread."""
        return worker_of(self.owner)


class Blocked(NamedTuple):
    """
    A thread with requests that no worker gets before *seconds* have passed: infinite while it is paused or stands still
    for a request without tries.
    """

    thread: str
    depth: int
    seconds: float


class Dead(NamedTuple):
    """
    A dead letter. *number* is unique in its shard, for ever. *traceback* is that of the last try, cut to its end if it
    is long; empty if no handler raised.
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


class About(NamedTuple):
    """
    What a worker tells a shard: the release of sharded-queue it runs, the threads it can hold, its start, and how often
    it tries a request of the handler.
    """

    version: str
    concurrency: int
    started_ms: int
    retry_limit: int | None = None


class WorkerState(NamedTuple):
    """A worker that told of itself within the last minutes, and for how long it has told nothing since."""

    owner: str
    version: str
    concurrency: int
    started_ms: int
    told_seconds: float
    retry_limit: int | None = None

    @property
    def worker(self) -> str:
        """Its name, without what tells its processes apart."""
        return worker_of(self.owner)


class Drop(NamedTuple):
    """
    What a person dropped, and why: *requests* is their number; they became the dead letters from number *letter* on.
    These may have been replayed or dropped for good since. Where *thread* is empty, the person dropped dead letters for
    good, and *letter* is the first of them.
    """

    at_ms: int
    actor: str
    reason: str
    thread: str
    requests: int
    letter: int


class Report(NamedTuple):
    """What a handler says of the batch that begins with request *first*: how much is *done*, *of* what is known."""

    first: int
    done: int
    of: int | None = None
    note: str = ""


class Progress(NamedTuple):
    """A holder's last report of the batch in its hands, and how long ago it came."""

    done: int
    of: int | None
    note: str
    reported_seconds: float


class PausedBy(NamedTuple):
    """Which person paused a thread or a handler, when, and why. *until_ms*: when it is resumed by itself, if it is."""

    paused_ms: int
    actor: str
    reason: str
    until_ms: int | None = None


class Exhausted(NamedTuple):
    """
    A thread that stands still because a request of this priority used up its tries, until a person resumes the thread
    or drops the request. *error*: why the last try failed.
    """

    thread: str
    priority: int
    since_ms: int
    attempts: int
    crashes: int
    error: str


class PastFailure(NamedTuple):
    """
    A failure of the past: of which request, at which of its attempts. *traceback* is the end of it, empty if no handler
    raised; where a worker died, *error* names it.
    """

    failed_ms: int
    priority: int
    sequence: int
    attempt: int
    error: str
    traceback: str = ""


SNOOZED = "snoozed ("
"""How the error of a request begins that snoozed last."""

_SNOOZED = re.compile(r"snoozed \((\d+)\): (.*)", re.DOTALL)


class Snoozed(NamedTuple):
    """How often in a row a request has snoozed, and what it said last."""

    times: int
    said: str


class TubeState(NamedTuple):
    """
    A tube with requests. *attempts*, *crashes* and the last *error* are those of its first request. An error without
    attempts is that of a call of several requests, which are tried one by one since, or tells that the request snoozed.
    """

    priority: int
    depth: int
    lag_seconds: float
    attempts: int = 0
    crashes: int = 0
    error: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether its first request was tried before, alone or in a batch, and failed."""
        return bool(self.attempts or self.crashes or (self.error and not self.snooze))

    @property
    def snooze(self) -> Snoozed | None:
        """What its first request said, if it snoozed last."""
        snoozed = _SNOOZED.fullmatch(self.error)
        return Snoozed(int(snoozed[1]), snoozed[2]) if snoozed else None


@dataclass(frozen=True, slots=True)
class ThreadState:
    """What decides whether a thread moves."""

    thread: str
    tubes: list[TubeState]
    is_handler_paused: bool = False
    owner: str | None = None
    """Who holds the thread, or held it until the lease ended."""
    lease_seconds: float | None = None
    """Until the lease ends; below 0 it has ended, and nobody holds the thread."""
    blocked_seconds: float | None = None
    """Until the thread may be bound again: infinite while it is paused, None if nothing blocks it."""
    ahead: int | None = None
    """Threads that will be bound before this one; None unless it is ready."""
    waits_for: list[str] | None = None
    """Threads of the previous layout, at most 100, that have to be drained first; None unless the thread is parked."""
    flaw: str | None = None
    """What about the thread cannot be read. No worker gets it until it is repaired."""
    act: str | None = None
    """What has paused the thread for as long as it takes, if no person did."""
    paused_by: PausedBy | None = None
    """Who paused the thread, or else its handler; None where nobody said so."""
    exhausted: Exhausted | None = None
    """For which request without tries the thread stands still, if it does. It may be paused beside."""
    in_hand: int = 0
    """Requests that the owner's handler has."""
    busy_seconds: float | None = None
    """For how long the owner has had requests without a break."""
    bound: int = 0
    """Threads of the shard that workers hold."""
    polled_seconds: float | None = None
    """Since a worker last polled for threads of the shard; None if none ever did."""
    workers: list[WorkerState] = field(default_factory=list)
    """Those that told of themselves in the last minutes and have not stopped since, the latest first; at most 100."""
    progress: Progress | None = None
    """What the owner's handler last reported of its batch, if it did."""
    failures: list[PastFailure] = field(default_factory=list)
    """The last failures of the thread, the newest first: at most ten, of the last day."""

    @property
    def is_served(self) -> bool:
        """Whether a worker holds a thread of the shard, or told of itself lately."""
        return bool(self.bound) or any(worker.told_seconds < TOLD_SECONDS for worker in self.workers)

    @property
    def is_held(self) -> bool:
        """Whether a worker holds the thread under a lease that has not ended."""
        return self.owner is not None and self.lease_seconds is not None and self.lease_seconds > 0


@dataclass(frozen=True, slots=True)
class ShardState:
    """A shard as it is now, read in one atomic step at a cost of O(worst + holds), whatever the number of threads."""

    shard: Shard
    depth: int = 0
    """Requests not settled yet, including those in workers' hands."""
    threads: int = 0
    """Threads with requests."""
    ready: int = 0
    """Threads that wait for a worker."""
    bound: int = 0
    """
    Threads under a lease that has not ended. Once it has, the thread is *ready*, though its `Hold` is listed until a
    worker takes it over.
    """
    blocked: int = 0
    """Threads that back off, are paused or stand still for a request without tries."""
    lag_seconds: float = 0.0
    """The age of the oldest request."""
    deepest: list[tuple[str, int]] = field(default_factory=list)
    """
    (thread, depth) of the deepest threads, at most *worst* of those with two requests or more; parked threads are not
    among them, and blocked ones come on top. Every thread that is not listed is at most as deep as the last one.
    """
    oldest: list[TubeLag] = field(default_factory=list)
    """The tubes with the oldest heads."""
    held: list[Hold] = field(default_factory=list)
    registered: int = 0
    settled: int = 0
    dead: int = 0
    busy_seconds: float = 0.0
    born: int | None = None
    """Marks the data of the shard: it changes only if they were wiped. None: nothing was ever registered here."""
    is_paused: bool = False
    """Whether the shard as a whole hands out no requests."""
    delayed: int = 0
    """Requests whose time has not come, or that have not joined their tubes yet."""
    overdue: int = 0
    """Requests and schedules already due that the next `bind` will move into their tubes."""
    duplicates: int = 0
    """
    Requests that were left out. This, *registered*, *settled*, *dead* and *busy_seconds* are counters: they only grow
    while *born* stays the same.
    """
    schedules: int = 0
    polled_seconds: float | None = None
    """Since a worker last polled for threads; None if none ever did."""
    layout: Layout | None = None
    """How keys are spread over threads; None if nothing was routed by key."""
    undrained: int = 0
    """Threads of the previous layout that still have requests."""
    parked: int = 0
    """Threads that share keys with *undrained* ones and wait for them. No worker can hold them."""
    parked_depth: int = 0
    """Requests of the first 1,000 parked threads."""
    quarantined: int = 0
    """
    Threads, delayed requests and schedules whose records cannot be read. They wait for a repair; all others go on.
    """
    letters: int = 0
    """Dead letters that are there now; *dead* counts all there ever were."""
    paused: int = 0
    """Threads that are paused one by one; *blocked* includes them."""
    exhausted: int = 0
    """Threads that stand still for a request without tries; *blocked* includes them."""
    blocked_threads: list[Blocked] = field(default_factory=list)
    """Those of the first 1,000 *blocked* threads that have requests, the first one to be free again first."""
    overdue_seconds: float = 0.0
    """For how long the first of the *overdue* has been due."""
    told_seconds: float | None = None
    """Since a worker last told of itself; None where none did in the last minutes, or all have stopped since."""
    concurrencies: list[int] = field(default_factory=list)
    """
    The threads that a worker can hold, by what the last 100 workers told in the last `TOLD_SECONDS`: each number once,
    ascending.
    """

    @property
    def is_known(self) -> bool:
        """Whether anything ever happened here (a registration, a poll, a pause), or is left of it."""
        left = self.threads or self.blocked or self.letters or self.delayed or self.schedules or self.quarantined
        return self.born is not None or self.polled_seconds is not None or self.is_paused or bool(left or self.held)

    @property
    def unlisted_holds(self) -> int:
        """Bound threads that *held* does not list."""
        return max(0, self.bound - sum(hold.lease_seconds > 0 for hold in self.held))

    @property
    def is_served(self) -> bool:
        """Whether a worker holds a thread of the shard, or told of itself lately."""
        return bool(self.bound) or (self.told_seconds is not None and self.told_seconds < TOLD_SECONDS)

    @property
    def is_unconsumed(self) -> bool:
        """Whether requests wait without a consumer: no worker holds a thread of the shard or polls for one."""
        is_polled = self.polled_seconds is not None and self.polled_seconds < UNCONSUMED_SECONDS
        return self.lag_seconds >= UNCONSUMED_SECONDS and not self.bound and not is_polled


def busy_seconds(since_ms: int, now: int) -> float:
    """For how long a held thread has had requests. Never 0 while it has some, even if the clock was set back."""
    return max(1, now - since_ms) / 1000 if since_ms else 0.0
