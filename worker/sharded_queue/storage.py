"""
The contract of a storage: it keeps tubes, and refuses every write whose lease is not the thread's own.

The classes beside `Storage` are the values that go in and come out of it. Times are milliseconds of the storage's own
clock (for Redis: its `TIME`), never of the caller's.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from sharded_queue.errors import QueueFull, ReshardError, ShardedQueueError, UnreadableData
from sharded_queue.lease import Lease
from sharded_queue.printable import counted
from sharded_queue.state import Dead, Delayed, ShardState, ThreadState, Upcoming
from sharded_queue.timing import Timing
from sharded_queue.tube import Keys, Layout, Shard, Tube

Target = Literal["head", "tail", "drop"]
"""What becomes of a dead letter."""


class Entry(NamedTuple):
    """
    Requests on their way into one tube, in order, each already encoded.

    *identities*: one per request where duplicates are looked for; requests of the same one are the same.
    """

    thread: str
    priority: int
    bodies: list[bytes]
    identities: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Registration:
    """
    What is appended to the tubes of one shard, all or nothing.

    *capacity*: requests that one tube may hold, None for no bound. Requests with a delay get their places in their
    tubes when their time has come; until then their number is that of the registration. *layout*: the one
    that requests routed by key were placed by; the first layout to come is in force from then on.

    With *window_seconds*, a request is left out when its identity was registered in this shard before and is still
    known, or comes twice in this very call. What is new is known for *window_seconds* from now, whatever becomes of
    it; a duplicate prolongs nothing, needs no room, and is counted. 0: duplicates are not looked for.
    """

    entries: Sequence[Entry]
    capacity: int | None = None
    delay_seconds: float = 0.0
    layout: Layout | None = None
    window_seconds: float = 0.0


class First(NamedTuple):
    """The request that a duplicate is the same as: where it was registered, and its number there."""

    thread: str
    priority: int
    sequence: int


class Registered(NamedTuple):
    """
    What became of entries: the sequence number of each entry's first request that is new (0 where none is), and the
    duplicates by entry and place in it, counted from 0.
    """

    firsts: list[int]
    duplicates: dict[tuple[int, int], First]


class Batch(NamedTuple):
    """
    Requests handed out from the head of one tube; *messages[i]* has sequence number *first + i*.

    *attempt* counts the tries of the first message, this one included.
    """

    lease: Lease
    tube: Tube
    first: int
    messages: list[bytes]
    attempt: int = 1

    @property
    def last(self) -> int:
        return self.first + len(self.messages) - 1

    @property
    def bytes(self) -> int:
        return sum(map(len, self.messages))


class Schedule(NamedTuple):
    """
    A request that is registered again and again.

    *name* is its own in its handler. *body*: as in an `Entry`; each occurrence is registered with its own time.
    """

    name: str
    timing: Timing
    thread: str
    priority: int
    body: bytes


class Settlement(NamedTuple):
    """
    What a worker reports of a thread it holds, and what it wants next.

    Everything up to sequence number *through* of the tube *priority* was handled (None: nothing to report), in
    *busy_seconds* of the handler's time. At most *wanted* requests are handed out next; with none left or none wanted
    the thread is released when *release* is set. *is_over*: the thread has had its turn, and is released also while it
    has requests, behind all that wait for a worker now; without effect when nobody waits.

    *call*: settlements and failures of a lease are numbered from 1, in one row. One that was carried out is only
    answered when it comes again, however late. None: only the numbers of its requests tell.
    """

    lease: Lease
    priority: int = 0
    through: int | None = None
    busy_seconds: float = 0.0
    wanted: int = 0
    release: bool = False
    is_over: bool = False
    call: int | None = None


class Settled(NamedTuple):
    """
    The answer to a settlement: the next batch, if there was one and it was wanted.

    *is_lost*: the lease was not the thread's own any more; nothing was written. *is_released*: the thread is free.
    """

    batch: Batch | None = None
    is_lost: bool = False
    is_released: bool = False


class Failure(NamedTuple):
    """
    A request at the head of its tube that could not be handled.

    With *delay_seconds* the whole thread waits so long and then tries again; without, the request goes to the dead
    letters and the thread goes on. *call*: as in a `Settlement`. *traceback* is kept with a dead letter.

    *cap_seconds*: the handler could not start, and no request is to blame. The delay then doubles with each such
    failure in a row, up to that many seconds.
    """

    lease: Lease
    priority: int
    sequence: int
    attempt: int
    error: str
    delay_seconds: float | None = None
    call: int | None = None
    traceback: str = ""
    cap_seconds: float | None = None


class LayoutChanged(ShardedQueueError):
    """Requests were placed by another layout than the one in force, which is *layout*; nothing was written."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(f"the layout in force is number {layout.number}, of {counted(layout.threads, 'thread')}")
        self.layout = layout


class Resharded(NamedTuple):
    """
    The answer to a change of the number of threads: the *layout* in force, and whether it was changed by this.

    *undrained*: threads of the layout before that have requests; threads that share keys with them wait.
    """

    layout: Layout
    undrained: int
    is_changed: bool


def queue_full(tube: Tube, depth: int, capacity: int) -> QueueFull:
    return QueueFull(f"tube {tube} holds {depth} of {capacity} requests; try again when workers have caught up")


def unfinished(shard: Shard, layout: Layout, undrained: int, threads: int) -> ReshardError:
    have = "has" if undrained == 1 else "have"
    return ReshardError(
        f"{shard.tag} cannot change to {counted(threads, 'thread')} yet: its last change, to {layout.threads}, is not "
        f"finished, as {counted(undrained, 'thread')} of the layout before ({layout.number - 1}:…) {have} requests; "
        "try again when they are drained"
    )


class Storage(ABC):
    """Keeps tubes. All methods are safe to repeat: a call whose answer was lost is sent again without harm."""

    medium: str
    """What the tubes are kept in; a coordinator works on storages of its own medium only."""

    @cached_property
    def layouts(self) -> dict[Shard, Layout]:
        """The layouts in force as last heard: a guess, which `register` is told and checks."""
        return {}

    @property
    def keys(self) -> Keys:
        """The key prefixes, where the medium is shared by name."""
        return Keys()

    @abstractmethod
    async def register(self, shard: Shard, registration: Registration) -> Registered:
        """
        Append to tubes, all or nothing.

        Raises:
            LayoutChanged: another layout is in force; nothing was written.
            QueueFull: there is no room; nothing was written.
            StorageUnavailable: no answer in time; the requests may or may not be in their tubes.
        """

    @abstractmethod
    async def schedule(self, shard: Shard, schedule: Schedule, layout: Layout | None = None) -> int:
        """
        Put a schedule in the place of the one of its name; returns when it occurs next, in milliseconds.

        As long as the timing is the same, that does not change: to say the same again does no harm. *layout*: the
        one that a request routed by key was placed by, in force if it is the first. Each occurrence is placed by the
        layout in force at its time.
        """

    @abstractmethod
    async def unschedule(self, shard: Shard, name: str) -> bool:
        """Remove a schedule; whether there was one. What has occurred already stays in its tube."""

    @abstractmethod
    async def has_schedule(self, shard: Shard, name: str) -> bool:
        """Whether a schedule of that name occurs in a shard."""

    @abstractmethod
    async def schedules(self, shard: Shard) -> list[Upcoming]:
        """All schedules of a shard, the next to occur first."""

    @abstractmethod
    async def delayed(self, shard: Shard, count: int = 100) -> list[Delayed]:
        """Requests that wait for their time, the next to be due first, and at most *count*."""

    @abstractmethod
    async def cancel(self, shard: Shard, numbers: Sequence[int]) -> list[int]:
        """
        Forget delayed requests; returns the numbers of those that will never be handled because of this.

        Not among them: a request that has taken its place in its tube, and a number that no delayed request has. What
        an earlier call cancelled, at most ten minutes ago, is among them, so a call that is sent again gets the same
        answer.
        """

    @abstractmethod
    async def register_due(self, shard: Shard) -> float | None:
        """
        Register what is due of the schedules, each occurrence once among all who call; seconds until the next one, None
        if there is none.

        A request of an occurrence joins the tail of its tube, however full that is, and counts as registered at its
        time. Of occurrences that were missed the first is registered, and the next is the first after now.

        Raises:
            QueueFull: Redis is at its memory limit; nothing is lost.
        """

    @abstractmethod
    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """
        Remove what was handled and hand out what comes next: all leases of one shard in one round trip, each judged on
        its own.
        """

    @abstractmethod
    async def fail(self, failure: Failure) -> bool:
        """
        Put a failed request off, or to the dead letters; False when the lease was lost, or another request is at the
        head of the tube.

        Put off, the thread is released and waits as a whole; otherwise the lease stays.
        """

    @abstractmethod
    async def observe(self, shards: Sequence[Shard], worst: int = 10, holds: int = 1000) -> list[ShardState]:
        """
        The state of each shard, in one round trip for all, at a cost of O(worst + holds). Lists at most *worst* tubes
        and *worst* threads, and at most *holds* bound threads besides those of the oldest tubes.
        """

    @abstractmethod
    async def peek(self, tube: Tube, count: int = 10) -> list[tuple[int, bytes]]:
        """
        The first requests of a tube as (sequence number, message), left where they are: at most *count*, in at most
        `settings.worker_batch_bytes` bytes, or one that is larger.
        """

    @abstractmethod
    async def explain(self, shard: Shard, thread: str) -> ThreadState:
        """Everything that decides whether a thread moves, read in one atomic step."""

    @abstractmethod
    async def dead(self, shard: Shard, count: int = 100) -> list[Dead]:
        """The newest dead letters of a shard."""

    @abstractmethod
    async def settle_dead(self, shard: Shard, numbers: Sequence[int], target: Target) -> list[int]:
        """
        Put dead letters back to the head or the tail of their tubes, or drop them; returns the numbers that were done.

        At the head only while nobody holds the thread: a letter cannot get before what is in a worker's hands. A letter
        gets another number there: behind what waits a new one, and before it the one before that of the first request
        that waits, which a request that was handled may have had. Fences tell their holders apart, so no late write
        takes the one for the other.
        """

    @abstractmethod
    async def pause(self, shard: Shard, thread: str | None, is_paused: bool) -> bool:
        """
        Withhold the requests of a thread (None: of all), or give them out again; whether that changed something.

        A batch in the hands of a worker is finished. A resumed thread's back-off is over.
        """

    @abstractmethod
    async def paused(self, shard: Shard) -> list[str]:
        """Threads that are paused one by one; whether the whole handler is, `observe` tells."""

    @abstractmethod
    async def reshard(self, shard: Shard, threads: int) -> Resharded:
        """
        Spread keys over another number of threads, from this moment on for every producer. A thread of the new layout
        waits until those of the old one that it may share keys with are drained.

        Raises:
            ReshardError: threads of the layout before are not drained yet; nothing was changed.
        """

    async def verify(self) -> None:
        """
        Look once whether the medium can keep what is promised.

        Raises:
            SettingsError: it cannot, and no setting says that this is accepted.
        """
        return


async def observe_readable(
    storage: Storage, shards: Sequence[Shard], worst: int
) -> tuple[list[ShardState], list[UnreadableData]]:
    """
    As `Storage.observe`, for many shards: garbage in one of them does not hide the others.

    Returns:
        The states of those that can be read, and why others cannot.
    """
    try:
        return await storage.observe(shards, worst), []
    except UnreadableData as error:
        if len(shards) == 1:
            return [], [error]
    parts = [await observe_readable(storage, [shard], worst) for shard in shards]
    return [state for states, _ in parts for state in states], [error for _, errors in parts for error in errors]
