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

WORDS: dict[State, tuple[str, Tone]] = {
    "bound": ("moves", "good"),
    "ready": ("waits for a worker", "wait"),
    "blocked": ("backs off", "bad"),
    "paused": ("paused", "idle"),
    "parked": ("waits for the old layout", "wait"),
    "quarantined": ("in quarantine", "bad"),
}
"""The state of a thread as a word and a tone."""


class Sentence(NamedTuple):
    text: str
    tone: Tone
    key: str
    handler: str = ""
    thread: str = ""


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


def thread_sentence(state: ThreadState) -> str:
    """Why the thread does not move, or that it does."""
    if not state.tubes and not state.flaw:
        held = f"; {state.owner} holds it drained for a moment" if state.is_held else ""
        return f"thread {state.thread} has no requests{held}"
    if state.is_held:
        held = f"{state.owner} holds it{work_of(state)}; {renewal(state)}"
        return f"thread {state.thread} moves: {held}{pause_to_come(state)}"
    return obstacle(state) or wait_of(state)


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
    return f"{hand}, busy without a break for {duration(state.busy_seconds)}" if state.busy_seconds else hand


def renewal(state: ThreadState) -> str:
    return f"its lease ends in {time_left(state.lease_seconds)} unless it is renewed"


def obstacle(state: ThreadState) -> str | None:
    """What keeps the thread from being bound, if anything."""
    if state.flaw:
        return f"thread {state.thread} is in quarantine: {state.flaw}; `sharded-queue check --repair` repairs it"
    if state.is_handler_paused:
        return f"thread {state.thread} waits: its handler is paused; `sharded-queue resume` resumes it"
    if state.blocked_seconds == inf:
        again = f": {state.act}; if that was cut off, ask for it again, or" if state.act else ";"
        return f"thread {state.thread} is paused{again} `sharded-queue resume` resumes it"
    if state.waits_for is not None:
        return f"thread {state.thread} waits for {old_threads(state.waits_for)}"
    if state.blocked_seconds is not None and state.blocked_seconds > 0:
        due = time_left(state.blocked_seconds)
        return f"thread {state.thread} backs off after a failure: the next try is due in {due}"
    return None


def wait_of(state: ThreadState) -> str:
    if state.owner:
        ended = f"the lease of {state.owner} ended {duration(-(state.lease_seconds or 0.0))} ago without renewal"
        return f"thread {state.thread} waits: {ended}, and {outlook(state)}"
    before = (
        f"{counted(state.ahead, 'thread')} {be(state.ahead)} before it" if state.ahead else "it is the next to be bound"
    )
    return f"thread {state.thread} waits for a worker: {before}; {outlook(state)}"


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


def headline(handlers: Sequence[HandlerState], unreadable: Sequence[str], why: ThreadState | None) -> Sentence:
    """
    The one sentence that a person who looks wants. *handlers*: the longest wait first. *why*: the thread that waits
    longest.
    """
    if not handlers:
        text = unreadable[0] if unreadable else "No handler has registered a request here yet"
        return Sentence(text, "bad" if unreadable else "idle", text)
    if wrong := problems(handlers, unreadable, why):
        return wrong[0]
    waiting = sum(handler.depth for handler in handlers)
    if not waiting:
        return Sentence("Nothing waits: every request is handled", "good", "Nothing waits")
    longest = handlers[0].lag_seconds
    return Sentence(f"All threads move; the longest wait is {duration(longest)}", "good", "All threads move")


def problems(handlers: Sequence[HandlerState], unreadable: Sequence[str], why: ThreadState | None) -> list[Sentence]:
    """What is wrong, the worst first."""
    found = [Sentence(printable(text, 300), "bad", text) for text in unreadable]
    for handler in handlers:
        found += handler_problems(handler, why)
    return sorted(found, key=lambda sentence: ["bad", "wait", "idle", "good"].index(sentence.tone))


def handler_problems(handler: HandlerState, why: ThreadState | None) -> list[Sentence]:
    """What is wrong with a handler; nothing where all its threads move."""
    name, found = handler.name, []
    waits = f"{counted(handler.depth, 'request')} {'waits' if handler.depth == 1 else 'wait'}"
    if handler.quarantined:
        cannot = f"{counted(handler.quarantined, 'record')} of {name} cannot be read"
        found.append(
            Sentence(f"{cannot}; sharded-queue check --repair repairs them", "bad", f"{name} quarantine", name)
        )
    if handler.is_unconsumed:
        since = since_poll(handler.polled_seconds)
        found.append(Sentence(f"No worker serves {name}: {waits}, and {since}", "bad", f"{name} unserved", name))
    elif handler.is_paused:
        said = f"{name} is paused; {waits}" if handler.depth else f"{name} is paused"
        found.append(Sentence(said, "idle", f"{name} paused", name))
    elif stuck := longest(handler):
        found.append(lag_sentence(handler, stuck, why))
    if handler.paused and not handler.is_paused:
        paused = f"{counted(handler.paused, 'thread')} of {name} {be(handler.paused)} paused"
        found.append(Sentence(paused, "idle", f"{name} threads paused", name))
    return found


def longest(handler: HandlerState) -> TubeLag | None:
    """The tube that waits longest, if a person should look at it."""
    for tube in handler.oldest:
        if tube.state == "blocked" or (tube.state in ("ready", "parked") and tube.lag_seconds > WAITS_LONG_SECONDS):
            return tube
    return None


def lag_sentence(handler: HandlerState, tube: TubeLag, why: ThreadState | None) -> Sentence:
    thread = printable(tube.thread, 80)
    head = f"Thread {thread} of {handler.name} waits {duration(tube.lag_seconds)}"
    key = f"{handler.name} {tube.thread} {tube.state}"
    state = why if why and why.thread == tube.thread else None
    if tube.state == "blocked":
        return Sentence(f"{head}: {failed(state)}", "bad", key, handler.name, tube.thread)
    if tube.state == "parked":
        return Sentence(f"{head} for threads of the previous layout", "wait", key, handler.name, tube.thread)
    reason = (
        f"all workers are busy with {counted(handler.bound, 'thread')}" if handler.bound else "no worker has taken it"
    )
    return Sentence(f"{head} for a worker: {reason}", "wait", key, handler.name, tube.thread)


def failed(state: ThreadState | None) -> str:
    """Why a thread backs off."""
    tried = max(state.tubes, key=lambda tube: tube.attempts, default=None) if state else None
    if not tried or not tried.attempts:
        return "it backs off after a failure"
    return f"its first request failed {times(tried.attempts)}: {printable(tried.error, 160)}"


def thread_word(state: ThreadState) -> tuple[str, Tone]:
    """The state of a thread that `explain` describes."""
    if not state.tubes and not state.flaw and state.blocked_seconds != inf:
        return "empty", "idle"
    return WORDS[_state(state)]


def _state(state: ThreadState) -> State:
    facts: list[tuple[bool, State]] = [
        (bool(state.flaw), "quarantined"),
        (state.is_held, "bound"),
        (state.is_handler_paused or state.blocked_seconds == inf, "paused"),
        (state.waits_for is not None, "parked"),
        (state.blocked_seconds is not None and state.blocked_seconds > 0, "blocked"),
    ]
    return next((name for is_so, name in facts if is_so), "ready")


def handler_word(handler: HandlerState) -> tuple[str, Tone]:
    """The state of a handler as a word and a tone."""
    if handler.quarantined:
        return ("needs repair", "bad")
    if handler.is_unconsumed:
        return ("no worker", "bad")
    if handler.is_paused:
        return ("paused", "idle")
    if not handler.depth:
        return ("idle", "idle")
    if stuck := longest(handler):
        return WORDS[stuck.state]
    return ("moves", "good")


def calm(handler: HandlerState) -> Sentence:
    """The sentence of a handler where nothing is wrong."""
    if not handler.depth:
        return Sentence(f"Nothing waits in {handler.name}", "good", "nothing waits")
    longest = duration(handler.lag_seconds)
    return Sentence(f"All threads of {handler.name} move; the longest wait is {longest}", "good", "all move")
