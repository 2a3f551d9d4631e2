"""
The answer first: what moves, what does not, and why, in sentences.

A sentence has a *key* that stays the same while only its numbers change: a screen reader is told of another key only.
"""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from sharded_queue.cli.tables import since_poll
from sharded_queue.printable import be, counted, printable
from sharded_queue.state import State, ThreadState, TubeLag
from sharded_queue.web.added_page import Tone
from sharded_queue.web.details import Answer
from sharded_queue.web.world import HandlerState, World

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


def roughly(seconds: float) -> str:
    """A duration for a sentence: 0.4 s, 3 s, 12 min, 2 h 5 min, 3 d 4 h."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 2 * 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // (24 * 60):,} d {minutes // 60 % 24} h"


def times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")


def of_world(world: World, why: Answer) -> Sentence:
    """The one sentence that a person who opens the page wants. *why* explains the thread that waits longest."""
    if not world.handlers:
        unreadable = f"{world.unreadable[0]}" if world.unreadable else ""
        text = unreadable or "No handler has registered a request here yet"
        return Sentence(text, "bad" if unreadable else "idle", text)
    if wrong := problems(world, why):
        return wrong[0]
    waiting = sum(handler.depth for handler in world.handlers.values())
    if not waiting:
        return Sentence("Nothing waits: every request is handled", "good", "Nothing waits")
    longest = max(handler.lag_seconds for handler in world.handlers.values())
    return Sentence(f"All threads move; the longest wait is {roughly(longest)}", "good", "All threads move")


def problems(world: World, why: Answer) -> list[Sentence]:
    """What is wrong, the worst first."""
    found = [Sentence(printable(text, 300), "bad", text) for text in world.unreadable]
    for handler in world.by_lag:
        found += of_handler(handler, why)
    return sorted(found, key=lambda sentence: ["bad", "wait", "idle", "good"].index(sentence.tone))


def of_handler(handler: HandlerState, why: Answer) -> list[Sentence]:
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
        found.append(of_tube(handler, stuck, why))
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


def of_tube(handler: HandlerState, tube: TubeLag, why: Answer) -> Sentence:
    thread = printable(tube.thread, 80)
    head = f"Thread {thread} of {handler.name} waits {roughly(tube.lag_seconds)}"
    key = f"{handler.name} {tube.thread} {tube.state}"
    state = why.value if isinstance(why.value, ThreadState) and why.value.thread == tube.thread else None
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


def word_of(state: ThreadState) -> tuple[str, Tone]:
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


def state_of(handler: HandlerState) -> tuple[str, Tone]:
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


def others(sentences: Sequence[Sentence], first: Sentence) -> list[Sentence]:
    return [each for each in sentences if each != first]
