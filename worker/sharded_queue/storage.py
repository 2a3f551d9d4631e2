"""
The contract of a storage: it keeps tubes, and refuses every write whose lease is no longer the thread's.

The values beside `Storage` are what goes into it and comes out of it; what it reports about itself is in `state`. Times
are milliseconds by the storage's own clock (for Redis: its `TIME`), never the caller's.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha1
from typing import Literal, NamedTuple

from sharded_queue.errors import QueueFull, ReshardError, ShardedQueueError, StorageUnavailable, UnreadableData
from sharded_queue.lease import Lease
from sharded_queue.printable import counted, instant, printable
from sharded_queue.state import (
    Dead,
    Delayed,
    Drop,
    Exhausted,
    PausedBy,
    Progress,
    ShardState,
    ThreadState,
    Upcoming,
    WorkerState,
)
from sharded_queue.timing import Timing
from sharded_queue.tube import Keys, Layout, Shard, Tube

LONGEST_DELAY_SECONDS = 315_360_000
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1, 31_536_000
"""Of a pause that ends by itself."""
MOST_PRIORITIES = 100
"""The most priorities that requests of one thread may have: each step about a thread reads all of its tubes."""
TRACEBACK_KEPT = 1000
"""Characters of the end of a traceback that are kept with each of a thread's last failures."""
Target = Literal["head", "tail", "drop"]
"""What to do with a dead letter."""
STEP_NUMBERS, STEP_BYTES = 500, 4_194_304
"""Dead letters or delayed requests of one step, and the bytes of those that it moves: some 30 ms of Redis."""
STEP_THREADS = 100
"""Threads of one step that reads all of their tubes, of which each may have a hundred."""


class Entry(NamedTuple):
    """
    Requests on their way into one tube, in order, each already encoded.

    *identities*: one per request where duplicates are looked for. Requests with equal identities are duplicates.
    """

    thread: str
    priority: int
    bodies: list[bytes]
    identities: Sequence[str] = ()


class Registration(NamedTuple):
    """
    What to append to the tubes of one shard, all or nothing.

    *capacity*: the most requests that one tube may hold; None for no bound. *delay_seconds*: the requests join their
    tubes when this time has passed, and until then have the sequence numbers of their registration. *layout*: the
    layout by which requests routed by key were placed; a shard's first layout stays in force until it is resharded.

    *window_seconds*: a request is left out if its identity was registered in this shard within the window of an earlier
    request, or occurs earlier in this call. The window of a new request starts now, whatever becomes of the request. A
    duplicate extends no window, needs no room and is counted. 0: duplicates are not looked for.
    """

    entries: Sequence[Entry]
    capacity: int | None = None
    delay_seconds: float = 0.0
    layout: Layout | None = None
    window_seconds: float = 0.0


class First(NamedTuple):
    """Where a request was registered, and its sequence number there: of a duplicate, the request that it repeats."""

    thread: str
    priority: int
    sequence: int


class Registered(NamedTuple):
    """
    *firsts*: for each entry, the sequence number of its first new request; 0 if it has none. *duplicates*: for each
    duplicate, by the index of its entry and its index there, the request that it repeats.
    """

    firsts: list[int]
    duplicates: dict[tuple[int, int], First]


class Batch(NamedTuple):
    """
    Requests handed out from the head of one tube; *messages[i]* has sequence number *first + i*.

    *attempt* counts the tries of the first message, this one included. *crashes* counts the workers that died with it.
    """

    lease: Lease
    tube: Tube
    first: int
    messages: list[bytes]
    attempt: int = 1
    crashes: int = 0

    @property
    def last(self) -> int:
        """The number of its last request."""
        return self.first + len(self.messages) - 1

    @property
    def bytes(self) -> int:
        """The size of its requests as stored."""
        return sum(map(len, self.messages))


class Schedule(NamedTuple):
    """
    A request that is registered again and again.

    *name* is unique within its handler. *body*: as in an `Entry`; each occurrence is registered with its own time.
    *skip_if_waiting*: an occurrence is left out while the last one is neither handled nor a dead letter.
    """

    name: str
    timing: Timing
    thread: str
    priority: int
    body: bytes
    skip_if_waiting: bool = False


class Settlement(NamedTuple):
    """
    What a worker reports about a thread it holds, and what it wants next.

    Everything up to sequence number *through* of the tube *priority* was handled, and took *busy_seconds* of the
    handler's time; None: there is nothing to report. The worker wants at most *wanted* requests next. If none is left
    or wanted, *release* frees the thread. *is_over*: the thread's turn has ended, so it is freed even if it has
    requests, and queues behind all threads that wait for a worker. This has no effect if none waits. *yields*: it does
    so in any case, because its worker knows of threads that wait in other shards.

    *call*: the settlements and failures of a lease share one series of numbers, which starts at 1. A call that was
    already carried out is only answered when it arrives again, however late. None: a repetition is recognised by its
    sequence numbers alone.
    """

    lease: Lease
    priority: int = 0
    through: int | None = None
    busy_seconds: float = 0.0
    wanted: int = 0
    release: bool = False
    is_over: bool = False
    call: int | None = None
    yields: bool = False


class Settled(NamedTuple):
    """
    The answer to a settlement: the next batch, if one was wanted and there was one.

    *is_lost*: the lease is no longer the thread's; nothing was written. *is_released*: the thread is free.
    """

    batch: Batch | None = None
    is_lost: bool = False
    is_released: bool = False


class Failure(NamedTuple):
    """
    A request at the head of its tube that could not be handled.

    With *delay_seconds*, the whole thread waits for that time and then tries again. Without, no try is left: the
    request becomes a dead letter, with its *traceback*, and the thread goes on; or it *stops* the thread, and keeps its
    place. `explain` shows the last failures of a thread. *call*: as in a `Settlement`.

    *cap_seconds*: the handler could not start, so that no request is to blame. The delay then doubles with each such
    failure in a row, up to this many seconds.

    *last*: a call of the requests from *sequence* to *last* failed, which is no try of any of them. The holder keeps
    the thread and the first request. Until the last one is settled, each is handed out alone, to whichever worker.

    *most_snoozes*: the request snoozes, which is no failed try: the thread waits, and its requests up to *last* come
    one by one afterwards. After this number of snoozes in a row, the next one is a last try; infinite for no bound.
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
    last: int | None = None
    most_snoozes: float | None = None
    stops: bool = False


class Waiting(NamedTuple):
    """
    A request that waits, by its place and its content: by its number alone, it could be taken for another one that has
    that number by now.
    """

    priority: int
    sequence: int
    digest: str
    """As `digest_of` its message."""


class Cause(NamedTuple):
    """Who drops or pauses something, and why: each a line of text."""

    actor: str
    reason: str

    def check(self) -> None:
        """
        Raises:
            ValueError: a part is empty, too long, or not a line of text.
        """
        for name, text, most in (("actor", self.actor, 200), ("reason", self.reason, 500)):
            if not 0 < len(text) <= most or not text.isprintable():
                raise ValueError(f"{name} is {text!r:.80}: give a line of 1 to {most} printable characters")

    @property
    def sentence(self) -> str:
        """
        The reason of the dead letters.

        Raises:
            ValueError: a part is empty, too long, or not a line of text.
        """
        self.check()
        return f"dropped by {self.actor}: {self.reason}"


TOO_DEEP = "more than 100,000 requests are before and behind it: drop it when it is nearer, or all of its thread"
"""Why a request is not dropped."""


def check_pause(by: Cause | None, seconds: float | None) -> None:
    """
    Raises:
        ValueError: the cause is not two lines of text, or a pause cannot end after *seconds*.
    """
    if by:
        by.check()
    if seconds is None:
        return
    if by is None:
        raise ValueError("a pause that ends by itself needs a cause: say who pauses, and why")
    if not SHORTEST_PAUSE_SECONDS <= seconds <= LONGEST_PAUSE_SECONDS:
        raise ValueError(
            f"a pause cannot last {seconds:,.12g} s: it lasts from 1 s to 365 days, or until it is resumed"
        )


class Dropped(NamedTuple):
    """
    The dead letters that requests became, in their order; the requests of the thread that a worker has *in_hand*; and
    of those that were named, the ones that stay because they are *held* so, the ones that are *missing*: handled,
    dropped or moved up meanwhile; and the ones that are too *deep*: more than 100,000 requests are before and behind
    them.
    """

    letters: list[int]
    in_hand: int = 0
    held: tuple[Waiting, ...] = ()
    missing: tuple[Waiting, ...] = ()
    deep: tuple[Waiting, ...] = ()


class LetterThread(NamedTuple):
    """The thread into which a dead letter would be put back now, and the bytes of the letter."""

    number: int
    thread: str
    bytes: int


class LetterPage(NamedTuple):
    """Those dead letters that are there of the first *looked* numbers that were asked for."""

    looked: int
    letters: list[Dead]


class Part(NamedTuple):
    """
    Which part a step is of an act that takes several. A thread is paused from the first step to the last one, which
    resumes it; a pause that a person sets stays.
    """

    is_first: bool = True
    is_last: bool = True


WHOLE = Part()


def check_numbers(numbers: Sequence[int]) -> None:
    """
    Raises:
        ValueError: these are too many for one step.
    """
    if len(numbers) > STEP_NUMBERS:
        raise ValueError(f"{len(numbers):,} numbers are given: at most {STEP_NUMBERS:,} at once")


def digest_of(message: bytes) -> str:
    return sha1(message, usedforsecurity=False).hexdigest()


class LayoutChanged(ShardedQueueError):
    """Requests were placed by a layout that is not in force; *layout* is. Nothing was written."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(f"the layout in force is number {layout.number}, of {counted(layout.threads, 'thread')}")
        self.layout = layout


class Resharded(NamedTuple):
    """
    The answer to a change of the number of threads: the *layout* in force. *is_changed*: this call put it in force.

    *undrained*: threads of the previous layout that still have requests; threads that share keys with them wait.
    """

    layout: Layout
    undrained: int
    is_changed: bool


def queue_full(tube: Tube, depth: int, capacity: int) -> QueueFull:
    return QueueFull(
        f"tube {tube} holds {depth} of {capacity} requests, delayed ones not counted; try again when "
        "workers have caught up"
    )


def priorities_full(shard: Shard, thread: str, count: int) -> QueueFull:
    return QueueFull(
        f"thread {printable(shard.handler)}/{printable(thread)} has requests of {count} priorities, and may have "
        f"{MOST_PRIORITIES}: try again when workers have caught up, or use fewer priorities, or more threads"
    )


def uncertain_registration(reason: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"{reason}; the requests may have been registered, or may still be: registering them again may duplicate them, "
        "unless they are deduplicated",
        is_uncertain=True,
    )


def check_due(due_ms: int, now_ms: int) -> None:
    """
    Raises:
        ValueError: a delayed request cannot be moved to this time.
    """
    if not now_ms < due_ms <= now_ms + LONGEST_DELAY_SECONDS * 1000:
        raise ValueError(
            f"the new time is {instant(due_ms)}: give one after {instant(now_ms)}, the present, and at most ten years "
            "ahead; what is to be handled now can be run now"
        )


def unfinished(shard: Shard, layout: Layout, undrained: int, threads: int) -> ReshardError:
    have = "has" if undrained == 1 else "have"
    return ReshardError(
        f"{shard.tag} cannot change to {counted(threads, 'thread')} yet: its last change, to {layout.threads}, is not "
        f"finished: {counted(undrained, 'thread')} of the previous layout ({layout.number - 1}:…) still {have} "
        "requests; try again when they are drained"
    )


class Storage(ABC):
    """Keeps tubes. Every method is safe to repeat: a call whose answer was lost can be sent again without harm."""

    backend: str
    """What the tubes are kept in. A coordinator works only with storages of its own backend."""

    @cached_property
    def layouts(self) -> dict[Shard, Layout]:
        """The layouts in force as this process last saw them: a guess, which `register` verifies."""
        return {}

    @property
    def keys(self) -> Keys:
        """The key prefixes, for a backend that is shared with others."""
        return Keys()

    @abstractmethod
    async def register(self, shard: Shard, registration: Registration, *, seconds: float | None = None) -> Registered:
        """
        Append to tubes, all or nothing. *seconds*: to wait for an answer, in place of `settings.redis_retry`.

        Raises:
            LayoutChanged: another layout is in force; nothing was written.
            QueueFull: there is no room; nothing was written.
            StorageUnavailable: no answer in time; the requests may or may not have been registered.
        """

    @abstractmethod
    async def schedule(self, shard: Shard, schedule: Schedule, layout: Layout | None = None) -> int:
        """
        Put a schedule in place of the one with its name; returns when it occurs next, in milliseconds.

        While the timing stays the same, so does the next occurrence: repeating a schedule does no harm. *layout*: the
        layout by which a request routed by key was placed, in force if it is the shard's first. Each occurrence is
        placed by the layout in force at its time.
        """

    @abstractmethod
    async def unschedule(self, shard: Shard, name: str) -> bool:
        """Remove a schedule; returns whether there was one. Occurrences already registered stay."""

    @abstractmethod
    async def has_schedule(self, shard: Shard, name: str) -> bool:
        """Whether the shard has a schedule of that name."""

    @abstractmethod
    async def schedules(self, shard: Shard) -> list[Upcoming]:
        """All schedules of a shard, the next to occur first."""

    @abstractmethod
    async def delayed(self, shard: Shard, count: int = 100) -> list[Delayed]:
        """Delayed requests, at most *count*, the next one due first."""

    @abstractmethod
    async def delayed_numbers(self, shard: Shard) -> list[int]:
        """The numbers of all delayed requests of a shard, the next one due first, read in steps."""

    @abstractmethod
    async def cancel(self, shard: Shard, numbers: Sequence[int]) -> list[int]:
        """
        Forget at most 500 delayed requests; returns the numbers of those that will never be handled because of it.

        A request that has already joined its tube is not among them, nor is a number that no delayed request has.
        Requests that an earlier call cancelled within the last ten minutes are, so a call that is sent again gets the
        same answer.
        """

    @abstractmethod
    async def run_delayed(self, shard: Shard, numbers: Sequence[int]) -> list[int]:
        """
        Let at most 500 delayed requests join the tails of their tubes now, in the order of *numbers*, even full ones;
        returns the numbers of those that did. They get numbers of their tubes, and count as registered now. One that
        has joined its tube before, was cancelled, or never existed, is left alone. Where they are too large for one
        step, it ends early, after one at least: if it did any, ask again for the others, as `steps.in_steps` does.
        """

    @abstractmethod
    async def move_delayed(self, shard: Shard, numbers: Sequence[int], due_ms: int) -> list[int]:
        """
        Let at most 500 delayed requests join their tubes at another time; returns the numbers of those that will.
        Those of equal times go by their numbers. One that has joined its tube before, was cancelled, or never existed,
        is left alone. As with `run_delayed`, the step ends early where they are too large for it.

        Raises:
            ValueError: the time has passed by the storage's clock, or is more than ten years ahead; nothing changed.
        """

    @abstractmethod
    async def edit_schedule(self, shard: Shard, name: str, timing: Timing) -> int | None:
        """
        Give a schedule another timing; returns when it occurs next, in milliseconds, None if no schedule has this name.

        As with `schedule`, the first occurrence of another timing is the first one after now, and while the timing
        stays the same, so does the next occurrence. A program that declares the schedule when it starts puts its own
        timing back.
        """

    @abstractmethod
    async def run_schedule(self, shard: Shard, name: str) -> First | None:
        """
        Register the request of a schedule now; returns where it waits, None if no schedule has this name. It joins the
        tail of its tube, even a full one. The schedule occurs next when it would have anyway.

        Raises:
            QueueFull: Redis is at its memory limit; nothing was written.
        """

    @abstractmethod
    async def register_due(self, shard: Shard) -> float | None:
        """
        Register the occurrences that are due, each once among all callers; returns the seconds until the next one, None
        without a schedule.

        The request joins the tail of its tube, even a full one, and counts as registered at the time of its occurrence.
        Of several missed occurrences only the first is registered; the next one is the first after now.

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
        Put a failed request off, move it to the dead letters, or hand out the requests of a failed call one by one.
        False if the lease was lost, or if another request is at the head of the tube.

        A request that is put off frees its thread, which waits as a whole; otherwise the lease stays.
        """

    @abstractmethod
    async def observe(self, shards: Sequence[Shard], worst: int = 10, holds: int = 1000) -> list[ShardState]:
        """
        The state of each shard, read in one round trip for all, at a cost of O(worst + holds) each. Lists at most
        *worst* tubes and *worst* threads, and at most *holds* bound threads besides those of the oldest tubes.
        """

    @abstractmethod
    async def progress(self, shard: Shard, threads: Sequence[str]) -> dict[str, Progress]:
        """
        What handlers reported of the batches in their hands, of those *threads* that have a report. At a cost of
        O(threads).
        """

    @abstractmethod
    async def workers(self, shard: Shard, count: int = 1000) -> list[WorkerState]:
        """
        The workers that serve the shard, the one that told of itself last first, at most *count*. A worker tells of
        itself when it polls or renews leases, every ten seconds at most; one that told nothing for five minutes is
        forgotten. At a cost of O(count).
        """

    @abstractmethod
    async def peek(self, tube: Tube, count: int = 10, after: int | None = None) -> list[tuple[int, bytes]]:
        """
        The first requests of a tube as (sequence number, message), left in place: at most *count* of them, in at most
        `settings.worker_batch_bytes` bytes unless the first one alone is larger.

        *after*: those with a larger number only. The last number of a page is where the next one begins, whatever was
        handled or registered meanwhile; an empty page is the end.
        """

    @abstractmethod
    async def explain(self, shard: Shard, thread: str) -> ThreadState:
        """Everything that decides whether a thread moves, read in one atomic step."""

    @abstractmethod
    async def dead(self, shard: Shard, count: int = 100) -> list[Dead]:
        """The newest dead letters of a shard: those with the highest numbers, the last one first."""

    @abstractmethod
    async def letter_numbers(self, shard: Shard) -> list[int]:
        """The numbers of all dead letters of a shard, read in steps. One that dies meanwhile may be missing."""

    @abstractmethod
    async def read_letters(self, shard: Shard, numbers: Sequence[int]) -> LetterPage:
        """
        Dead letters by their numbers, at most 500. Where they are too large for one step, it ends early, after one at
        least: ask again for the others. `letters.read` does so for any number of them.

        Raises:
            ValueError: these are more than 500.
        """

    @abstractmethod
    async def letter_threads(self, shard: Shard, numbers: Sequence[int]) -> list[LetterThread]:
        """Where dead letters would be put back, in the order of *numbers*, without those that can only be dropped."""

    @abstractmethod
    async def settle_dead(
        self,
        shard: Shard,
        numbers: Sequence[int],
        target: Target,
        part: Part = WHOLE,
        cause: Cause | None = None,
    ) -> list[int]:
        """
        Put at most 500 dead letters back at the head or the tail of their tubes, or drop them, in one atomic step;
        returns the numbers of those it did. Where letters are too large for one step, it ends early, after one at
        least: if it did any, ask again for the others. `letters.settle` does so for any number of letters.

        A letter goes back to the head only while nobody holds the thread: it cannot overtake requests in a worker's
        hands. In a later *part* than the first, it does so only while the thread is paused. It gets another sequence
        number: a new one at the tail; at the head the one before the first waiting request's, which a request handled
        earlier may have had. Fences tell the holders of the two apart, so no late write confuses them.

        *cause*: who drops them, and why, for `drops`: one record of no thread, to which later parts add.

        Raises:
            ValueError: these are more than 500, or a part of *cause* is not a line of text.
        """

    @abstractmethod
    async def drop(self, shard: Shard, thread: str, cause: Cause, requests: Sequence[Waiting] | None = None) -> Dropped:
        """
        Take waiting requests of a thread out of their tubes: at most 1,000 that are named, or all that were registered
        by now. They become dead letters, and can be put back as those; the others keep their order.

        Requests in a worker's hands stay. Behind each one that is dropped, the numbers of the tube fall by one; where
        the first ones of a tube are dropped, all numbers stay. Named requests are dropped in one atomic step; a whole
        thread in steps of 1,000, between which workers may go on. A named request stays where all together have more
        than 100,000 others between them and the nearer ends of their tubes: to find it, Redis would serve nobody else.

        Raises:
            ValueError: more than 1,000 are named, or a part of *cause* is not a line of text.
        """

    @abstractmethod
    async def drops(self, shard: Shard, count: int = 100) -> list[Drop]:
        """What people dropped, the newest first. The last 1,000 drops of a shard are kept."""

    @abstractmethod
    async def has_identities(self, shard: Shard) -> bool:
        """Whether requests of the shard may be left out as duplicates."""

    @abstractmethod
    async def pause(
        self, shard: Shard, thread: str | None, is_paused: bool, by: Cause | None = None, seconds: float | None = None
    ) -> bool:
        """
        Stop handing out the requests of a thread (None: of the whole shard), or start again; returns whether this
        changed anything. Who pauses it, and why, is kept until it is resumed: by somebody, or by itself after
        *seconds*. The last pause with a cause says until when.

        A batch that a worker already has is finished. Resuming a thread ends its back-off.

        Raises:
            ValueError: *seconds* without a cause, or not within `SHORTEST_PAUSE_SECONDS` and `LONGEST_PAUSE_SECONDS`.
        """

    @abstractmethod
    async def paused(self, shard: Shard) -> list[str]:
        """Threads that are paused one by one. `observe` says whether the whole shard is."""

    @abstractmethod
    async def pauses(self, shard: Shard) -> dict[str, PausedBy]:
        """Who paused which threads, and why; '' is the whole shard. What nobody gave a reason for is left out."""

    @abstractmethod
    async def exhausted(self, shard: Shard, page: str = "") -> tuple[list[Exhausted], str]:
        """
        Threads that stand still for a request without tries, about 100, and the next page, "" at the end. A thread that
        stands still from the first page to the last is listed, maybe twice.
        """

    @abstractmethod
    async def try_anew(self, shard: Shard, threads: Sequence[Exhausted]) -> list[str]:
        """
        The requests for which these threads stand still get all of their tries again. A person's pause stays. Returns
        the threads that stood still as they are given here.
        """

    @abstractmethod
    async def acts(self, shard: Shard) -> dict[str, str]:
        """Threads that an act of several steps has paused, which resumes them with its last step; and why."""

    @abstractmethod
    async def reshard(self, shard: Shard, threads: int) -> Resharded:
        """
        Spread keys over another number of threads, from this moment on and for every producer. A thread of the new
        layout waits until the old threads that may share keys with it are drained.

        Raises:
            ReshardError: threads of the previous layout are not drained yet; nothing was changed.
        """

    async def verify(self) -> None:
        """
        Check once that the backend can keep the promises made here.

        Raises:
            SettingsError: it cannot, and no setting accepts that.
        """
        return


async def observe_readable(
    storage: Storage, shards: Sequence[Shard], worst: int
) -> tuple[list[ShardState], list[UnreadableData]]:
    """
    As `Storage.observe`, for many shards: unreadable data in one of them do not hide the others.

    Returns:
        The states of the shards that can be read, and why the others cannot.
    """
    try:
        return await storage.observe(shards, worst), []
    except UnreadableData as error:
        if len(shards) == 1:
            return [], [error]
    parts = [await observe_readable(storage, [shard], worst) for shard in shards]
    return [state for states, _ in parts for state in states], [error for _, errors in parts for error in errors]
