"""
What people read, on a page as in a terminal: durations and counts, and in sentences what moves, what does not, and why.

A sentence of a page has a *key* that stays the same while only its numbers change: a screen reader is told of another
key only.
"""

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from itertools import groupby
from math import inf
from typing import Literal, NamedTuple

from sharded_queue.admin.handler_state import HandlerState
from sharded_queue.printable import be, counted, instant, printable
from sharded_queue.state import (
    UNCONSUMED_SECONDS,
    PastFailure,
    Progress,
    ShardState,
    State,
    ThreadState,
    TubeLag,
    TubeState,
)

Tone = Literal["good", "wait", "bad", "idle"]
"""What a colour says beside the word: it moves; it waits for a moment; somebody must look; nothing happens."""

WAITS_LONG_SECONDS = 30.0
"""A thread that no worker holds and that waits this long is worth a sentence. A poll of a worker takes seconds."""

TONES: dict[State, Tone] = {
    "failing": "wait",
    "bound": "good",
    "quarantined": "bad",
    "paused": "idle",
    "parked": "wait",
    "blocked": "bad",
    "ready": "wait",
}
"""The colour of each state of a thread."""


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


def times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")


def progress_words(progress: Progress) -> str:
    whole = "" if progress.of is None else f" of {progress.of:,}"
    return f"{progress.done:,}{whole}" + (f": {progress.note}" if progress.note else "")


def how_to_install(point: EntryPoint, error: ModuleNotFoundError) -> str:
    """How to install what an entry point needs."""
    return f"{error.name} is not installed; run pip install 'sharded-queue[{','.join(point.extras)}]'"


def pause_sentences(states: Sequence[ShardState]) -> list[str]:
    """A sentence for each handler that is paused, has paused threads, or has records that cannot be read."""
    said = []
    for handler, group in groupby(states, key=lambda state: state.shard.handler):
        shards = list(group)
        if any(state.is_paused for state in shards):
            said.append(f"{handler} is paused; `sharded-queue resume {handler}` resumes it")
        if paused := sum(state.paused for state in shards):
            threads = f"{counted(paused, 'thread')} of {handler} {be(paused)} paused"
            said.append(f"{threads}; `sharded-queue paused {handler}` lists them")
        if flawed := sum(state.quarantined for state in shards):
            cannot = f"{counted(flawed, 'record')} of {handler} cannot be read"
            said.append(f"{cannot}; `sharded-queue check {handler} --repair` repairs them")
    return said


def unserved_sentences(states: Sequence[ShardState]) -> list[str]:
    """A sentence for each shard whose requests no worker serves."""
    return [
        f"no worker serves {state.shard.tag}: {counted(state.depth, 'request')} "
        f"{'waits' if state.depth == 1 else 'wait'}, and {since_poll(state.polled_seconds)}"
        for state in states
        if state.is_unconsumed
    ]


def since_poll(seconds: float | None) -> str:
    if seconds is None:
        return "no worker has ever polled for them"
    return f"the last worker polled for them {duration(seconds)} ago"


def judge_thread(state: ThreadState) -> Sentence:
    """What becomes of a thread, and why."""
    word, tone = thread_word(state)
    reason = {
        "idle": _idle,
        "failing": _failing,
        "bound": _bound,
        "quarantined": lambda state: f": {state.flaw}; `sharded-queue check --repair` repairs it",
        "paused": _pause,
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
        (state.waits_for is not None, "parked"),
        (state.blocked_seconds is not None and state.blocked_seconds > 0, "blocked"),
    ]
    word: State = next((name for is_so, name in facts if is_so), "ready")
    return word, TONES[word]


def failed_tube(state: ThreadState) -> TubeState | None:
    """The tube whose first request has failed most often, if any has."""
    return max((tube for tube in state.tubes if tube.has_failed), key=lambda tube: tube.attempts, default=None)


def _idle(state: ThreadState) -> str:
    return ": it has no requests" + f"; {state.owner} keeps it for a moment in case one comes" * state.is_held


def _bound(state: ThreadState) -> str:
    return f": {state.owner} holds it{work_of(state)}; {lease_left(state)}{pause_to_come(state)}"


def _failing(state: ThreadState) -> str:
    tube = failed_tube(state)
    tries = f"tries again ({_try(tube)}), {last_failure(tube)}" if tube else ""
    return f": {state.owner} {tries}{work_of(state)}; {lease_left(state)}{pause_to_come(state)}"


def _try(tube: TubeState) -> str:
    return (
        "its requests one by one"
        if not tube.attempts and not tube.crashes
        else ordinal(tube.attempts + tube.crashes + 1)
    )


def last_failure(tube: TubeState, limit: int = 160) -> str:
    """What a request failed with last."""
    if tube.error:
        return f"last: {printable(tube.error, limit)}"
    return f"{counted(tube.crashes, 'worker')} died while handling it"


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
    if state.is_handler_paused:
        return " with its whole handler; `sharded-queue resume` resumes it"
    if state.act:
        return f": {state.act}; if that was cut off, ask for it again, or `sharded-queue resume` resumes it"
    return "; `sharded-queue resume` resumes it"


def _back_off(state: ThreadState) -> str:
    due = f"the next try is due in {time_left(state.blocked_seconds)}"
    tube = failed_tube(state)
    if not tube:
        return f": it backs off after a failure; {due}"
    tried = f"its first request failed {times(tube.attempts)}, " if tube.attempts else ""
    return f": {tried}{last_failure(tube)}; {due}"


def _wait(state: ThreadState) -> str:
    if state.owner:
        ended = f"the lease of {state.owner} ended {duration(-(state.lease_seconds or 0.0))} ago without renewal"
        return f": {ended}, and {outlook(state)}"
    before = (
        f"{counted(state.ahead, 'thread')} {be(state.ahead)} before it" if state.ahead else "it is the next to be bound"
    )
    tube = failed_tube(state)
    failed = f"; it failed {times(tube.attempts + tube.crashes)}, {last_failure(tube)}" if tube else ""
    return f": it waits for a worker, and {before}; {outlook(state)}{failed}"


def outlook(state: ThreadState) -> str:
    """Whether a worker will bind it: a worker with room polls for threads every few seconds."""
    if state.polled_seconds is not None and state.polled_seconds < UNCONSUMED_SECONDS:
        asked = f"a worker polled for threads {duration(state.polled_seconds)} ago"
        return f"{asked} and binds it at its next poll" if state.owner else f"{asked}, and none has room now"
    ever = "ever polled" if state.polled_seconds is None else f"polled for {duration(state.polled_seconds)}"
    if state.bound:
        return f"all workers are busy with {counted(state.bound, 'other thread')}: none has {ever} for another one"
    return f"no worker serves its handler: none has {ever} for its threads"


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
        words += f"; it failed {counted(tube.attempts, 'time')}, last with {printable(tube.error, 500)}"
    if tube.crashes:
        words += f"; {counted(tube.crashes, 'worker')} died while handling it"
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
    return [calm(in_work, whose), *found]


def calm(handlers: Sequence[HandlerState], whose: str) -> Sentence:
    """The sentence of *handlers* with requests of which nothing is wrong."""
    numbers = {"bound": sum(each.bound for each in handlers), "ready": sum(each.ready for each in handlers)}
    said = [f"{counted(number, 'thread')}{whose} {be(number)} {word}" for word, number in numbers.items() if number]
    if not said:
        return Sentence(f"Nothing waits: every request{whose} is handled", "good", "idle", state="idle")
    waits = [tube.lag_seconds for each in handlers for tube in each.oldest if tube.state != "paused"]
    word = "bound" if numbers["bound"] else "ready"
    text = f"{' and '.join(said)}; the longest wait is {duration(max(waits, default=0.0))}"
    return Sentence(text, "good", f"{word}{whose}", state=word)


def handler_problems(handler: HandlerState, why: ThreadState | None) -> list[Sentence]:
    """What is wrong with a handler, the worst first; nothing where its threads are in work."""
    name, found = handler.name, []
    waits = f"{counted(handler.depth, 'request')} {'waits' if handler.depth == 1 else 'wait'}"
    if handler.quarantined:
        cannot = f"{counted(handler.quarantined, 'record')} of {name} cannot be read"
        text = f"{cannot}; sharded-queue check --repair repairs them"
        found.append(Sentence(text, "bad", f"{name} quarantined", name, state="quarantined"))
    if handler.is_unconsumed:
        text = f"No worker serves {name}: {waits}, and {since_poll(handler.polled_seconds)}"
        found.append(Sentence(text, "bad", f"{name} unconsumed", name, state="unconsumed"))
    elif handler.is_paused:
        text = f"{name} is paused; {waits}" if handler.depth else f"{name} is paused"
        found.append(Sentence(text, "idle", f"{name} paused", name, state="paused"))
    elif tube := worst_tube(handler):
        found.append(tube_problem(handler, tube, why))
    if handler.paused and not handler.is_paused:
        text = f"{counted(handler.paused, 'thread')} of {name} {be(handler.paused)} paused"
        found.append(Sentence(text, "idle", f"{name} threads paused", name, state="paused"))
    return found


NEEDS_A_LOOK: Sequence[State] = ("failing", "blocked", "parked", "ready")
"""States of threads that a person should look at, those first that fail; the last two once they last."""


def worst_tube(handler: HandlerState) -> TubeLag | None:
    """The tube that a person should look at first, if any: by what is wrong, then by how long it waits."""
    listed = [
        tube
        for tube in handler.oldest
        if tube.state in NEEDS_A_LOOK[:2] or (tube.state in NEEDS_A_LOOK and tube.lag_seconds > WAITS_LONG_SECONDS)
    ]
    return min(listed, key=lambda tube: NEEDS_A_LOOK.index(tube.state), default=None)


def tube_problem(handler: HandlerState, tube: TubeLag, why: ThreadState | None) -> Sentence:
    thread = printable(tube.thread, 80)
    head = f"Thread {thread} of {handler.name} is {tube.state} and waits {duration(tube.lag_seconds)}"
    failed = failed_tube(why) if why and why.thread == tube.thread else None
    reasons = {
        "failing": f"it tries again ({_try(failed)}), {last_failure(failed)}"
        if failed
        else "it tries again after a failure",
        "blocked": f"it failed {times(failed.attempts)}, {last_failure(failed)}" if failed else "it failed",
        "parked": "threads of the previous layout go first",
        "ready": f"all workers are busy with {counted(handler.bound, 'thread')}"
        if handler.bound
        else "no worker has taken it",
    }
    key = f"{handler.name} {tube.thread} {tube.state}"
    return Sentence(f"{head}: {reasons[tube.state]}", TONES[tube.state], key, handler.name, tube.thread, tube.state)
