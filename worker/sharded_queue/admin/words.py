"""
What people read, on a page as in a terminal: durations and counts, and in sentences what moves, what does not, and why.

A sentence of a page has a *key* that stays the same while only its numbers change: a screen reader is told of another
key only.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from itertools import groupby
from math import inf
from typing import Literal, NamedTuple

from sharded_queue.admin.handler_state import HandlerState
from sharded_queue.printable import be, counted, instant, printable
from sharded_queue.state import (
    TOLD_SECONDS,
    UNCONSUMED_SECONDS,
    Exhausted,
    PastFailure,
    PausedBy,
    Progress,
    ShardState,
    Snoozed,
    State,
    ThreadState,
    TubeLag,
    TubeState,
)
from sharded_queue.timing import EVERY

Tone = Literal["good", "wait", "bad", "idle"]
"""What a colour says beside the word: it moves; it waits for a moment; somebody must look; nothing happens."""

WAITS_LONG_SECONDS = 30.0
"""A thread that no worker holds and that waits this long is worth a sentence. A poll of a worker takes seconds."""

TONES: dict[State, Tone] = {
    "failing": "wait",
    "bound": "good",
    "quarantined": "bad",
    "paused": "idle",
    "exhausted": "bad",
    "parked": "wait",
    "blocked": "bad",
    "ready": "wait",
}
"""The colour of each state of a thread."""

LATE_SECONDS = 10.0
"""A request that has been due for longer is overdue. An idle worker takes it in at once, or within seconds."""


class Sentence(NamedTuple):
    """What is so. *state*: that of the handler or thread, in one word."""

    text: str
    tone: Tone
    key: str
    handler: str = ""
    thread: str = ""
    state: str = ""


def count(number: int) -> str:
    return f"{number:,}"


def duration(seconds: float) -> str:
    """For people, to about three digits: 0.42 s, 12.3 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    if minutes < 2 * 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // (24 * 60):,} d {minutes // 60 % 24} h"


def interval(timing: str) -> str:
    """The text of a timing, with its interval as all durations are written."""
    found = EVERY.fullmatch(timing)
    return f"every {duration(float(found[1]))}" if found and float(found[1]) >= 60 else timing


def times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")


def progress_words(progress: Progress) -> str:
    whole = "" if progress.of is None else f" of {progress.of:,}"
    return f"{progress.done:,}{whole}" + (f": {progress.note}" if progress.note else "")


def how_to_install(point: EntryPoint, error: ModuleNotFoundError) -> str:
    """How to install what an entry point needs."""
    return f"{error.name} is not installed; run pip install 'sharded-queue[{','.join(point.extras)}]'"


def pause_sentences(states: Sequence[ShardState]) -> list[str]:
    """A sentence for each handler with something that waits for a person."""
    said = []
    for handler, group in groupby(states, key=lambda state: state.shard.handler):
        shards = list(group)
        if any(state.is_paused for state in shards):
            said.append(f"{handler} is paused; `sharded-queue resume {handler}` resumes it")
        if paused := sum(state.paused for state in shards):
            threads = f"{counted(paused, 'thread')} of {handler} {be(paused)} paused"
            said.append(f"{threads}; `sharded-queue paused {handler}` lists them")
        if exhausted := sum(state.exhausted for state in shards):
            threads = f"{counted(exhausted, 'thread')} of {handler} {be(exhausted)} exhausted"
            said.append(f"{threads}; `sharded-queue resume {handler} --exhausted` tries {them(exhausted)} again")
        if flawed := sum(state.quarantined for state in shards):
            cannot = f"{counted(flawed, 'record')} of {handler} cannot be read"
            said.append(f"{cannot}; `sharded-queue check {handler} --repair` repairs them")
    return said


def since_poll(seconds: float | None) -> str:
    if seconds is None:
        return "none has ever polled for its threads"
    return f"the last one polled for its threads {duration(seconds)} ago"


def judge_thread(state: ThreadState) -> Sentence:
    """What becomes of a thread, and why."""
    word, tone = thread_word(state)
    if word == "ready" and not state.is_served and max(tube.lag_seconds for tube in state.tubes) >= UNCONSUMED_SECONDS:
        tone = "bad"
    if word == "blocked" and snoozed_of(state):
        tone = "wait"
    reason = {
        "idle": _idle,
        "failing": _failing,
        "bound": _bound,
        "quarantined": lambda state: f": {state.flaw}; `sharded-queue check --repair` repairs it",
        "paused": _pause,
        "exhausted": lambda state: f": {exhausted_words(state.exhausted)}; {TRY_ANEW}" if state.exhausted else "",
        "parked": lambda state: f": it waits for {old_threads(state.waits_for or ())}",
        "blocked": _back_off,
        "ready": _wait,
    }[word](state)
    return Sentence(f"thread {state.thread} is {word}{reason}", tone, f"{state.thread} {word}", "", state.thread, word)


def thread_word(state: ThreadState) -> tuple[State | Literal["idle"], Tone]:
    """The state of a thread that `explain` describes."""
    if not state.tubes and not state.flaw and state.blocked_seconds != inf:
        return "idle", "idle"
    facts: list[tuple[bool, State]] = [
        (state.is_held and failed_tube(state) is not None, "failing"),
        (state.is_held, "bound"),
        (bool(state.flaw), "quarantined"),
        (state.is_handler_paused or state.blocked_seconds == inf, "paused"),
        (state.exhausted is not None, "exhausted"),
        (state.waits_for is not None, "parked"),
        (state.blocked_seconds is not None and state.blocked_seconds > 0, "blocked"),
    ]
    word: State = next((name for is_so, name in facts if is_so), "ready")
    return word, TONES[word]


def failed_tube(state: ThreadState) -> TubeState | None:
    """The tube whose first request has failed most often, if any has."""
    return max((tube for tube in state.tubes if tube.has_failed), key=lambda tube: tube.attempts, default=None)


def snoozed_of(state: ThreadState) -> Snoozed | None:
    """What the thread snoozes for, if that is why it waits."""
    return next((tube.snooze for tube in state.tubes if tube.snooze), None)


def _idle(state: ThreadState) -> str:
    return ": it has no requests" + f"; {state.owner} keeps it for a moment in case one comes" * state.is_held


def _bound(state: ThreadState) -> str:
    return f": {state.owner} holds it{work_of(state)}; {lease_left(state)}{pause_to_come(state)}"


def _failing(state: ThreadState) -> str:
    tube = failed_tube(state)
    tries = f" tries again ({next_try(tube, state)}), {last_failure(tube)}" if tube else ""
    work = f"; working for {duration(state.busy_seconds)}" if state.busy_seconds else ""
    return f": {state.owner}{tries}{work}; {lease_left(state)}{pause_to_come(state)}"


ONE_BY_ONE = "one by one"
CANNOT_START = "cannot start ("
"""How the error of a request begins that was not tried, as its handler could not start."""


def next_try(tube: TubeState, state: ThreadState) -> str:
    """Which try of its first request is under way or comes next, and of how many, if a worker has told that."""
    if not tube.attempts and not tube.crashes and not tube.error.startswith(CANNOT_START):
        return ONE_BY_ONE
    limit = next((worker.retry_limit for worker in state.workers if worker.retry_limit), None)
    return ordinal(tube.attempts + tube.crashes + 1) + (f" of {limit:,}" if limit else "")


def coming_try(tube: TubeState, state: ThreadState) -> str:
    number = next_try(tube, state)
    return "it is tried one by one" if number == ONE_BY_ONE else f"its next try is the {number}"


def last_failure(tube: TubeState, limit: int = 160) -> str:
    """What a request failed with last."""
    if tube.error:
        return f"last: {printable(tube.error, limit)}"
    return f"{counted(tube.crashes, 'worker')} died or hung while handling it"


def ordinal(number: int) -> str:
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def pause_to_come(state: ThreadState) -> str:
    """A pause does not end the batch that a worker has."""
    if not state.is_handler_paused and state.blocked_seconds != inf:
        return ""
    return f"; {'its handler' if state.is_handler_paused else 'it'} is paused, and stands still after this batch"


def work_of(state: ThreadState) -> str:
    """What the holder of the thread does."""
    if not state.in_hand:
        return ""
    hand = f" and has {counted(state.in_hand, 'request')} in its handler"
    return f"{hand}, working for {duration(state.busy_seconds)}" if state.busy_seconds else hand


def lease_left(state: ThreadState) -> str:
    return f"its lease has {time_left(state.lease_seconds)} left"


def _pause(state: ThreadState) -> str:
    by = f", {paused_by(state.paused_by)}" if state.paused_by else ""
    beside = f"; beside that, {exhausted_words(state.exhausted)}" if state.exhausted else ""
    if state.is_handler_paused:
        return f" with its whole handler{by}; `sharded-queue resume` resumes it{beside}"
    if state.act:
        return f": {state.act}; if that was cut off, ask for it again, or `sharded-queue resume` resumes it{beside}"
    return f"{by}; `sharded-queue resume` resumes it{beside}"


TRY_ANEW = "`sharded-queue resume` tries it again, with all of its tries"


def exhausted_words(exhausted: Exhausted, limit: int = 160) -> str:
    """Why a thread stands still for a request without tries."""
    failed = f"failed {counted(exhausted.attempts, 'time')}" if exhausted.attempts else ""
    if failed and exhausted.crashes:
        failed += f" and killed {counted(exhausted.crashes, 'worker')}"
    why = printable(exhausted.error, limit)
    said = f"its first request {failed}, last: {why}" if failed else f"its first request has no try left: {why}"
    return f"{said}; it stands still since {instant(exhausted.since_ms)}"


def them(number: int) -> str:
    return "it" if number == 1 else "them"


def paused_by(by: PausedBy) -> str:
    """To go behind what is paused."""
    until = "" if by.until_ms is None else f" until {instant(by.until_ms)}"
    return f"since {instant(by.paused_ms)}{until} by {printable(by.actor)}: {printable(by.reason)}"


def _back_off(state: ThreadState) -> str:
    left, tube = time_left(state.blocked_seconds), failed_tube(state)
    if snoozed := snoozed_of(state):
        said = f"its first request snoozes ({printable(snoozed.said, 160)})"
        return f": {said}, for the {ordinal(snoozed.times)} time in a row; it comes again in {left}"
    if not tube:
        return f": it backs off after a failure; the next try is due in {left}"
    if tube.crashes and not tube.attempts:  # no failure: a worker tries one such request at a time
        return f": {last_failure(tube)}; it waits until a worker can try it alone, and is looked at again in {left}"
    return f": its next try ({next_try(tube, state)}) is due in {left}, {last_failure(tube)}"


def _wait(state: ThreadState) -> str:
    tube = failed_tube(state)
    failed = f"; {coming_try(tube, state)}, {last_failure(tube)}" if tube else ""
    if state.owner:
        ended = f"the lease of {state.owner} ended {duration(-(state.lease_seconds or 0.0))} ago without renewal"
        return f": {ended}; {outlook(state)}{failed}"
    before = f"{counted(state.ahead, 'thread')} {be(state.ahead)}" if state.ahead else "none is"
    return f": it waits for a worker, and {before} before it; {outlook(state)}{failed}"


def outlook(state: ThreadState) -> str:
    """Who may bind it, as far as workers have told: one that was killed cannot tell that it is gone."""
    if not state.workers:
        held = f"workers hold {counted(state.bound, 'other thread')}" if state.bound else "no worker serves its handler"
        return f"{held}: {since_poll(state.polled_seconds)}"
    latest, others = state.workers[0], [worker for worker in state.workers if worker.owner != state.owner]
    heard = f"{latest.worker} was last heard of {duration(latest.told_seconds)} ago"
    lanes = sum(worker.concurrency for worker in others if worker.told_seconds < TOLD_SECONDS)
    if not lanes:
        return f"no {'other ' if state.owner else ''}worker serves its handler: {heard}"
    if state.polled_seconds is not None and state.polled_seconds >= UNCONSUMED_SECONDS:
        return f"no worker has had room for {duration(state.polled_seconds)}; {heard}"
    if state.bound >= lanes:
        return f"all {counted(lanes, 'lane')} of its workers are taken; {heard}"
    waited = max((tube.lag_seconds for tube in state.tubes), default=0.0)
    if waited >= LATE_SECONDS and (state.polled_seconds is None or state.polled_seconds >= waited):
        return f"no worker has asked for threads since it came: each is full, or gone; {heard}"
    return f"a worker binds it at its next poll, if it has room and still runs; {heard}"


def old_threads(names: Sequence[str]) -> str:
    listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    if not names:
        return "the next poll of a worker: the threads of the old layout that it may share keys with are drained"
    return f"threads {listed} of the old layout: they may have earlier requests of its keys"


def tube_sentence(tube: TubeState) -> str:
    words = (
        f"  priority {tube.priority}: {counted(tube.depth, 'request')}, the oldest waits {duration(tube.lag_seconds)}"
    )
    if tube.attempts:
        last = "" if tube.snooze else f", last with {printable(tube.error, 500)}"
        words += f"; it failed {counted(tube.attempts, 'time')}{last}"
    if snoozed := tube.snooze:
        words += f"; it snoozed {counted(snoozed.times, 'time')} in a row, last for {printable(snoozed.said, 500)}"
    if tube.crashes:
        words += f"; {counted(tube.crashes, 'worker')} died or hung while handling it"
    return words


def progress_sentences(progress: Progress | None) -> list[str]:
    if progress is None:
        return []
    said = printable(progress_words(progress))
    return [f"  its handler reported {duration(progress.reported_seconds)} ago: {said}"]


def failure_sentence(failure: PastFailure) -> str:
    """A failure, with the line of the traceback that names the place."""
    lines = [line.strip() for line in failure.traceback.split("\n") if line.lstrip().startswith("File ")]
    where = f" ({printable(lines[-1], 200)})" if lines else ""
    which = f"request {failure.sequence} of priority {failure.priority}, attempt {failure.attempt}"
    return f"  {instant(failure.failed_ms)}: {which} failed: {printable(failure.error, 500)}{where}"


def coming(handler: HandlerState, first_ms: float | None, at: float) -> Sentence:
    """What is delayed or scheduled, of which the first is due at *first_ms*; *at*: now, in seconds since 1970."""
    number = f"{counted(handler.delayed, 'delayed request')} and {counted(handler.schedules, 'schedule')}"
    if handler.overdue and not handler.is_served:
        return unserved(handler)
    if handler.overdue_seconds >= UNCONSUMED_SECONDS:
        return judge_handler(handler)[0]
    following = f"; the next comes {due(first_ms, at)}" if first_ms is not None else ""
    return Sentence(f"{handler.name} has {number}{following}", "good", handler.name)


def due(ms: float, at: float) -> str:
    """When something comes, seen from *at*. A worker takes in what is due within seconds."""
    seconds = ms / 1000 - at
    if seconds > 0:
        return f"in {duration(seconds)}"
    return "now" if seconds > -LATE_SECONDS else f"overdue by {duration(-seconds)}"


def no_requests(handler: HandlerState) -> str:
    """Why `lag` has no thread to name."""
    paused = ", and it is paused" * handler.is_paused
    dead = f"; there {be(handler.letters)} {counted(handler.letters, 'dead letter')}" if handler.letters else ""
    late = f", but {overdue(handler)}" if handler.overdue_seconds >= LATE_SECONDS else ""
    unserved_words = ": no worker serves it" * (bool(late) and not handler.is_served)
    return f"no requests{paused}{late}{unserved_words}{dead}"


NO_WORKERS = "no worker: none has told of itself in the last five minutes, or all have stopped since"


def time_left(seconds: float | None) -> str:
    return duration(max(0.0, seconds or 0.0))


def headline(handlers: Sequence[HandlerState], unreadable: Sequence[str], why: ThreadState | None) -> list[Sentence]:
    """
    The one sentence that a person who looks wants, and then what else needs a look, the worst first. *handlers*: the
    longest wait first. *why*: the thread that needs a look most.
    """
    found = [Sentence(printable(text, 300), "bad", text, state="unreadable") for text in unreadable]
    if not handlers and not found:
        return [Sentence("No handler has registered a request here yet", "idle", "none")]
    for handler in handlers:
        found += handler_problems(handler, why)
    found.sort(key=lambda sentence: SEVERITY.index(sentence.tone))
    return led_by_calm(handlers, found)


SEVERITY: Sequence[Tone] = ("bad", "wait", "idle", "good")
"""The worst first."""


def judge_handler(handler: HandlerState, why: ThreadState | None = None) -> list[Sentence]:
    """What a person should know of a handler, the worst first."""
    return led_by_calm([handler], handler_problems(handler, why), f" of {handler.name}")


def led_by_calm(handlers: Sequence[HandlerState], found: list[Sentence], whose: str = "") -> list[Sentence]:
    """What is paused does not lead where anything else is in work."""
    in_work = [handler for handler in handlers if handler.depth and not handler.is_still]
    is_all_paused = not in_work and any(handler.depth for handler in handlers)
    if found and (found[0].tone != "idle" or is_all_paused):
        return found
    return [calm_work(in_work, whose) if in_work else calm_rest(handlers, whose), *found]


def calm_rest(handlers: Sequence[HandlerState], whose: str) -> Sentence:
    """That no requests wait, and what is left of them."""
    delayed, dead = sum(each.delayed for each in handlers), sum(each.letters for each in handlers)
    left = [counted(delayed, "delayed request")] * bool(delayed) + [counted(dead, "dead letter")] * bool(dead)
    text = f"there {be(delayed or dead)} {' and '.join(left)}" if left else f"every request{whose} is handled"
    return Sentence(f"Nothing waits{whose if left else ''}: {text}", "good", "idle", state="idle")


def calm_work(handlers: Sequence[HandlerState], whose: str) -> Sentence:
    """The sentence of handlers with requests of which nothing is wrong, so far."""
    numbers = {"bound": sum(each.bound for each in handlers), "ready": sum(each.ready for each in handlers)}
    said = [f"{counted(number, 'thread')}{whose} {be(number)} {word}" for word, number in numbers.items() if number]
    longest = max(
        (tube.lag_seconds for each in handlers for tube in each.oldest if tube.state != "paused"), default=0.0
    )
    word = "bound" if numbers["bound"] else "ready"
    tone: Tone = "wait" if word == "ready" and longest > LATE_SECONDS else "good"
    text = f"{' and '.join(said)}; the longest wait is {duration(longest)}"
    return Sentence(text, tone, f"{word}{whose}", state=word)


NOTHING_READ = Sentence("Nothing is known: Redis has not been read yet", "idle", "nothing read")


def handler_problems(handler: HandlerState, why: ThreadState | None) -> list[Sentence]:
    """What is wrong with a handler, the worst first; nothing where its threads are in work."""
    name, found = handler.name, []
    if handler.quarantined:
        cannot = f"{counted(handler.quarantined, 'record')} of {name} cannot be read"
        text = f"{cannot}; sharded-queue check --repair repairs them"
        found.append(Sentence(text, "bad", f"{name} quarantined", name, state="quarantined"))
    tube = problem_tube(handler)
    is_named = handler.exhausted == 1 and tube is not None and tube.state == "exhausted"
    if handler.exhausted and not is_named:
        text = f"{counted(handler.exhausted, 'thread')} of {name} {be(handler.exhausted)} exhausted"
        text += f"; sharded-queue resume {name} --exhausted tries {them(handler.exhausted)} again"
        found.append(Sentence(text, "bad", f"{name} exhausted", name, state="exhausted"))
    if handler.is_paused:
        text = f"{name} is paused" + f"; {waits(handler)}" * bool(handler.depth)
        found.append(Sentence(text, "idle", f"{name} paused", name, state="paused"))
    elif handler.lacks_workers:
        found.append(unserved(handler))
    elif tube:
        found.append(tube_problem(handler, tube, why))
    elif handler.overdue_seconds >= UNCONSUMED_SECONDS:
        text = f"{overdue(handler)}: no worker of {name} has taken {'it' if handler.overdue == 1 else 'them'} in"
        found.append(Sentence(text, "wait", f"{name} overdue", name, state="overdue"))
    if handler.paused and not handler.is_paused:
        text = f"{counted(handler.paused, 'thread')} of {name} {be(handler.paused)} paused"
        found.append(Sentence(text, "idle", f"{name} threads paused", name, state="paused"))
    return found


def waits(handler: HandlerState) -> str:
    return f"{counted(handler.depth, 'request')} {'waits' if handler.depth == 1 else 'wait'}"


def overdue(handler: HandlerState) -> str:
    what = f"{counted(handler.overdue, 'delayed or scheduled request')} {be(handler.overdue)}"
    return f"{what} overdue by {duration(handler.overdue_seconds)}"


def unserved(handler: HandlerState) -> Sentence:
    """That no worker serves a handler: amber while workers may only be replaced, red after a minute."""
    told, name = None if handler.is_served else handler.told_seconds, handler.name
    since = since_poll(handler.polled_seconds) if told is None else f"the last one was heard of {duration(told)} ago"
    what = [*[waits(handler)] * bool(handler.depth), *[overdue(handler)] * bool(handler.overdue)]
    tone: Tone = "bad" if handler.needs_workers else "wait"
    nobody = "No worker has room for" if handler.is_served else "No worker serves"
    text = f"{nobody} {name}: {since}; {' and '.join(what)}"
    return Sentence(text, tone, f"{name} unconsumed", name, state="unconsumed")


FAILED: tuple[State, ...] = ("exhausted", "failing", "blocked")
"""States of threads whose first request failed."""
LISTED = 50
"""Tubes of each shard that are read, of those whose oldest requests wait longest: what page and command then order."""
URGENCY: Mapping[State, int] = {"quarantined": 0, "exhausted": 1, "failing": 2, "blocked": 3, "paused": 5}
"""All other states are between these."""


def urgency(tube: TubeLag) -> tuple[int, float]:
    """
    Orders tubes, the worst first: by what is wrong with their threads, then by how long they wait. What a person paused
    comes last.
    """
    return URGENCY.get(tube.state, 4), -tube.lag_seconds


def worst_tube(handler: HandlerState) -> TubeLag | None:
    """The tube that a person should look at first, if any: by what is wrong, then by how long it waits."""
    listed = [
        tube
        for tube in handler.oldest
        if tube.state in FAILED or (tube.state in ("ready", "parked") and tube.lag_seconds > WAITS_LONG_SECONDS)
    ]
    return min(listed, key=urgency, default=None)


def problem_tube(handler: HandlerState) -> TubeLag | None:
    """The tube that the sentence of a handler names, if any: a pause, or that no worker serves it, is said before."""
    return None if handler.is_paused or handler.lacks_workers else worst_tube(handler)


def tube_problem(handler: HandlerState, tube: TubeLag, why: ThreadState | None) -> Sentence:
    head = (
        f"Thread {printable(tube.thread, 80)} of {handler.name} is {tube.state} and waits {duration(tube.lag_seconds)}"
    )
    told = why if why and why.thread == tube.thread else None
    failed = failed_tube(told) if told else None
    snoozed = snoozed_of(told) if told and tube.state == "blocked" else None
    exhausted = told.exhausted if told and tube.state == "exhausted" else None
    if snoozed:
        reason = f"it snoozes ({printable(snoozed.said, 160)})"
    elif exhausted:
        reason = exhausted_words(exhausted)
    elif told and failed:
        number = next_try(failed, told)
        again = coming_try(failed, told) if tube.state == "blocked" else f"tried again ({number})"
        reason = f"{again}, {last_failure(failed)}"
    elif tube.state in FAILED:
        reason = "it has failed"
    elif tube.state == "parked":
        reason = "threads of the previous layout go first"
    elif told:
        reason = outlook(told)
    else:
        reason = f"workers hold {counted(handler.bound, 'other thread')}" if handler.bound else "no worker has taken it"
    key = f"{handler.name} {tube.thread} {tube.state}"
    tone: Tone = "wait" if snoozed else TONES[tube.state]
    return Sentence(f"{head}: {reason}", tone, key, handler.name, tube.thread, tube.state)
