"""
What the commands say with `--json`: a type each, from which `docs/cli.schema.json` is made.

Fields have names that stay. Moments end in `_at` and are ISO 8601 in UTC; durations end in `_seconds` and are numbers.
A request is the JSON value that it is stored as.
"""

import time
from math import inf
from typing import Annotated, Any

import msgspec

from sharded_queue import state
from sharded_queue.admin.words import judge_thread
from sharded_queue.errors import SerializationError
from sharded_queue.printable import printable, utc
from sharded_queue.serializer import STAMP_DIGITS, unpack

LAST_MOMENT_MS = 253_402_300_799_000.0
"""The last second of the year 9999, where the calendar ends."""

Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all answers share: fields by name, which none can change."""


class Progress(Answer, frozen=True):
    """What a handler reported of its batch, in units of its own; *of* is null where the whole is unknown."""

    done: int
    of: int | None
    note: str
    reported_seconds: float


class Tube(Answer, frozen=True):
    """A tube, the age of its oldest request, and what becomes of its thread; *held_by* is a worker's name."""

    thread: str
    priority: int
    depth: int
    lag_seconds: float
    oldest_at: Moment
    state: str
    held_by: str | None
    progress: Progress | None


class Shard(Answer, frozen=True):
    """`threads`: a shard. *dead* counts dead letters that are there, *dead_ever* all that ever were."""

    handler: str
    shard: int
    depth: int
    delayed: int
    schedules: int
    threads: int
    ready: int
    bound: int
    blocked: int
    parked: int
    is_paused: bool
    paused_threads: int
    lag_seconds: float
    registered: int
    duplicates: int
    settled: int
    dead: int
    dead_ever: int
    polled_seconds: float | None
    is_unconsumed: bool
    quarantined: int
    exhausted: int
    tubes: list[Tube]


class Lag(Answer, frozen=True):
    """`lag`: the longest wait of a handler; nothing but the reason where it has no requests."""

    handler: str
    is_paused: bool
    why: str
    thread: str | None = None
    priority: int | None = None
    depth: int | None = None
    lag_seconds: float | None = None
    since_at: Moment | None = None
    state: str | None = None
    held_by: str | None = None


class ThreadTube(Answer, frozen=True):
    """A tube of a thread; *attempts*, *crashes* and *error* are those of its first request."""

    priority: int
    depth: int
    lag_seconds: float
    attempts: int
    crashes: int
    error: str


class PastFailure(Answer, frozen=True):
    """A failure of a thread: of which request, and at which of its attempts; *traceback* is the end of it."""

    failed_at: Moment
    priority: int
    sequence: int
    attempt: int
    error: str
    traceback: str


class Thread(Answer, frozen=True):
    """
    `explain`: the state of a thread, and why; it *moves* while it is bound. *owner* holds it, or held it until its
    lease ended: *lease_seconds* are left of that, none where it is below 0. *ahead*: threads that are bound before it.
    *waits_for*: threads of the previous layout. *flaw*: why its record cannot be read, if so. *act*: what has paused
    it, if no person did. *is_exhausted*: it stands still for a request without tries. *paused_by*, *pause_reason*,
    *paused_until*: who did, why, and until when. *failures*: the last ones of a day, the newest first.
    """

    handler: str
    thread: str
    state: str
    moves: bool
    why: str
    owner: str | None
    lease_seconds: float | None
    in_hand: int
    busy_seconds: float | None
    is_handler_paused: bool
    is_paused: bool
    is_exhausted: bool
    blocked_seconds: float | None
    ahead: int | None
    waits_for: list[str] | None
    polled_seconds: float | None
    flaw: str | None
    act: str | None
    paused_by: str | None
    pause_reason: str | None
    paused_until: str | None
    tubes: list[ThreadTube]
    progress: Progress | None
    failures: list[PastFailure]


class Worker(Answer, frozen=True):
    """
    `workers`: a line a worker. *threads* are those that it holds, *busy* those with requests, and *busy_seconds* is the
    longest time that one had some without a break: the *longest_thread*, of whose batch the handler last reported
    *progress*, if it did. The rest is null where it never told of itself.
    """

    worker: str
    owner: str
    handlers: list[str]
    threads: int
    busy: int
    busy_seconds: float
    version: str | None
    concurrency: int | None
    started_at: Moment | None
    told_seconds: float | None
    longest_thread: str | None
    progress: Progress | None


class Stored(Answer, frozen=True):
    """A request as it is stored. *request* is null and *unreadable* a text where it cannot be read."""

    request: Any
    headers: dict[str, str]
    registered_at: Moment | None
    unreadable: str | None


class Peeked(Stored, frozen=True):
    """`peek`: a line a request."""

    priority: int
    sequence: int
    waits_seconds: float | None


class Letter(Stored, frozen=True):
    """`dead list`: a line a dead letter."""

    shard: int
    number: int
    thread: str
    priority: int
    sequence: int
    attempts: int
    error: str
    traceback: str
    died_at: Moment


class Settled(Answer, frozen=True):
    """`dead replay` and `dead drop`: the numbers that were done, and those that were not, with the reason."""

    handler: str
    done: list[int]
    left: dict[str, str]


class Dropped(Answer, frozen=True):
    """
    `drop`: the dead letters that requests became, how many requests of the thread a worker has in hand, and the numbers
    of those that stay, with the reason.
    """

    handler: str
    thread: str
    letters: list[int]
    in_hand: int
    left: dict[str, str]


class Drop(Answer, frozen=True):
    """
    `dropped`: a line a drop. *letter* is the number of its first dead letter. *thread* is empty where dead letters were
    dropped.
    """

    dropped_at: Moment
    by: str
    reason: str
    thread: str
    requests: int
    letter: int


class Schedule(Stored, frozen=True):
    """`schedules list`: a line a schedule."""

    name: str
    timing: str
    thread: str
    priority: int
    next_at: Moment
    skip_if_waiting: bool


class Removed(Answer, frozen=True):
    """`schedules remove`."""

    handler: str
    removed: str


class Delayed(Stored, frozen=True):
    """`delayed list`: a line a request whose time has not come."""

    shard: int
    number: int
    thread: str
    priority: int
    due_at: Moment
    due_seconds: float


class Cancelled(Answer, frozen=True):
    """`delayed cancel`: the numbers that were cancelled, and those that are not there."""

    handler: str
    cancelled: list[int]
    unknown: list[int]


class Moved(Answer, frozen=True):
    """`delayed move`: the new time, the numbers that have it, and those that are not delayed."""

    handler: str
    due_at: Moment
    moved: list[int]
    unknown: list[int]


class Ran(Answer, frozen=True):
    """`delayed run`: the numbers that joined their tubes, and those that are not delayed."""

    handler: str
    ran: list[int]
    unknown: list[int]


class Edited(Answer, frozen=True):
    """`schedules edit`: the timing, and when the schedule occurs next."""

    handler: str
    schedule: str
    timing: str
    next_at: Moment


class Run(Answer, frozen=True):
    """`schedules run`: where the request waits."""

    handler: str
    schedule: str
    thread: str
    priority: int
    sequence: int


class Paused(Answer, frozen=True):
    """
    `paused`: a handler as a whole (*thread* is null), or one of its threads. *act*: what has paused it, if no person
    did. *by*, *reason*, *paused_at*: who did, as far as that was said. *until*: when it is resumed by itself, if it is.
    """

    handler: str
    thread: str | None
    act: str | None = None
    by: str | None = None
    reason: str | None = None
    paused_at: str | None = None
    until: str | None = None


class Switched(Answer, frozen=True):
    """
    `pause` and `resume`. *note*: what still works on a batch, or stays as it is; empty if nothing. *tried_anew*: of how
    many exhausted threads the first request is tried again.
    """

    handler: str
    thread: str | None
    paused: bool
    changed: bool
    note: str
    tried_anew: int = 0


class Plan(Answer, frozen=True):
    """`--dry-run`: what would be asked, what would happen, and to how many things."""

    question: str
    effect: str
    total: int


class Layout(Answer, frozen=True):
    """`reshard`: the layout in force, and what is left of the one before."""

    handler: str
    threads: int
    layout: int
    undrained: int
    parked: int
    changed: bool


class Change(Answer, frozen=True):
    """What `check --repair` put right: a member of an index, as it was and as it is; empty where there is none."""

    index: str
    member: str
    was: str
    now: str


class Checked(Answer, frozen=True):
    """`check`; *changes* is null without `--repair`."""

    handler: str
    faults: list[str]
    changes: list[Change] | None


def at(ms: float) -> str:
    """A moment to the millisecond; one out of the calendar is the nearest that is in it."""
    return utc(min(max(ms, 0.0), LAST_MOMENT_MS) / 1000)


def progress(reported: state.Progress | None) -> Progress | None:
    return Progress(**reported._asdict()) if reported else None


def stored(message: bytes) -> dict[str, Any]:
    """The fields of a `Stored` from a message."""
    try:
        registered_ms, body, headers = unpack(message)
        return {
            "request": value_of(body),
            "headers": dict(headers),
            "registered_at": at(registered_ms),
            "unreadable": None,
        }
    except SerializationError:
        return {"request": None, "headers": {}, "registered_at": None, "unreadable": printable(message)}


def kept(body: bytes) -> dict[str, Any]:
    """The fields of a `Stored` from what is kept until its time comes, which has no time of registration."""
    return stored(b"0" * STAMP_DIGITS + body) | {"registered_at": None}


def value_of(body: bytes) -> msgspec.Raw:
    """
    The JSON value that a request is stored as, number for number.

    Raises:
        SerializationError: it is not JSON.
    """
    try:
        msgspec.json.decode(body)
        return msgspec.Raw(msgspec.json.format(body, indent=-1))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SerializationError(f"{printable(body, 80)} is not JSON: {error}") from error


def letter(dead: state.Dead, shard: int = 0) -> Letter:
    return Letter(
        shard=shard,
        number=dead.number,
        thread=dead.thread,
        priority=dead.priority,
        sequence=dead.sequence,
        attempts=dead.attempts,
        error=dead.error,
        traceback=dead.traceback,
        died_at=at(dead.died_ms),
        **stored(dead.message),
    )


def delayed(each: state.Delayed) -> Delayed:
    return Delayed(
        shard=each.tube.shard.number,
        number=each.sequence,
        thread=each.tube.thread,
        priority=each.tube.priority,
        due_at=at(each.due_ms),
        due_seconds=round(each.due_ms / 1000 - time.time(), 3),
        **kept(each.body),
    )


def schedule(upcoming: state.Upcoming) -> Schedule:
    return Schedule(
        name=upcoming.name,
        timing=upcoming.timing,
        thread=upcoming.thread,
        priority=upcoming.priority,
        next_at=at(upcoming.next_ms),
        skip_if_waiting=upcoming.skip_if_waiting,
        **kept(upcoming.body),
    )


def peeked(priority: int, sequence: int, message: bytes) -> Peeked:
    return Peeked(priority=priority, sequence=sequence, waits_seconds=waited_seconds(message), **stored(message))


def waited_seconds(message: bytes) -> float | None:
    try:
        return max(0.0, round(time.time() - unpack(message).registered_ms / 1000, 3))
    except SerializationError:
        return None


def thread(handler: str, explained: state.ThreadState) -> Thread:
    is_paused, judged = explained.blocked_seconds == inf, judge_thread(explained)
    return Thread(
        handler=handler,
        thread=explained.thread,
        state=judged.state,
        moves=judged.state == "bound",
        why=judged.text,
        owner=explained.owner,
        lease_seconds=explained.lease_seconds,
        in_hand=explained.in_hand,
        busy_seconds=explained.busy_seconds,
        is_handler_paused=explained.is_handler_paused,
        is_paused=is_paused,
        is_exhausted=explained.exhausted is not None,
        blocked_seconds=None if is_paused else explained.blocked_seconds,
        ahead=explained.ahead,
        waits_for=explained.waits_for,
        polled_seconds=explained.polled_seconds,
        flaw=explained.flaw,
        act=explained.act,
        paused_by=explained.paused_by.actor if explained.paused_by else None,
        pause_reason=explained.paused_by.reason if explained.paused_by else None,
        paused_until=paused_until(explained.paused_by),
        tubes=[ThreadTube(**tube._asdict()) for tube in explained.tubes],
        progress=progress(explained.progress),
        failures=[failure(past) for past in explained.failures],
    )


def paused_until(by: state.PausedBy | None) -> str | None:
    return None if by is None or by.until_ms is None else at(by.until_ms)


def paused(handler: str, thread: str | None, by: state.PausedBy | None, act: str | None = None) -> Paused:
    if by is None:
        return Paused(handler=handler, thread=thread, act=act)
    return Paused(
        handler=handler,
        thread=thread,
        act=act,
        by=by.actor,
        reason=by.reason,
        paused_at=at(by.paused_ms),
        until=paused_until(by),
    )


def failure(past: state.PastFailure) -> PastFailure:
    return PastFailure(
        failed_at=at(past.failed_ms),
        priority=past.priority,
        sequence=past.sequence,
        attempt=past.attempt,
        error=past.error,
        traceback=past.traceback,
    )
