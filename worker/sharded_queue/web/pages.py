"""
The pages: what each needs to know, and what it shows of it.

A page asks nothing. It names the questions whose answers it shows; the reader asks them, for all pages together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sharded_queue.cli import answers
from sharded_queue.cli.commands import dead as dead_letters
from sharded_queue.cli.commands import explain, peek
from sharded_queue.state import Dead, ThreadState
from sharded_queue.web import history, sentences
from sharded_queue.web.bodies import Bodies
from sharded_queue.web.details import NOTHING, Answer, Details, Question
from sharded_queue.web.world import HandlerState, World

ROWS = 25
"""Rows of a table. An update of a page with this many stays below 20 kB."""

Parameters = Mapping[str, str]


class NotFound(Exception):
    """The address names something that this console does not know."""


@dataclass(frozen=True)
class Seen:
    """What a page may show: the world, and the answers to its questions."""

    world: World
    details: Details
    bodies: Bodies

    def known(self, question: Question | None) -> Answer:
        return self.details.known(question) if question else NOTHING

    def handler(self, parameters: Parameters) -> HandlerState:
        name = parameters.get("handler", "")
        if name not in self.world.handlers:
            raise NotFound(f"This console knows no handler {name!r}.")
        return self.world.handlers[name]


class Page:
    """*name* is its path and its template."""

    name: ClassVar[str]
    title: ClassVar[str]

    def questions(self, seen: Seen, parameters: Parameters) -> list[Question]:
        """What has to be read for it, beside the world."""
        return []

    def facts(self, seen: Seen, parameters: Parameters) -> dict[str, Any]:
        """What its template shows."""
        raise NotImplementedError


def why_of(world: World) -> Question | None:
    """Asks about the thread that waits longest, if somebody should look at it."""
    for handler in world.by_lag:
        if not handler.is_paused and not handler.is_unconsumed and (tube := sentences.longest(handler)):
            return Question("explain", handler.name, tube.thread)
    return None


def place(parameters: Parameters, name: str = "from") -> int:
    """Where a table begins: a number that somebody may have typed."""
    text = parameters.get(name, "")
    return min(int(text), 10**6) if text.isascii() and text.isdigit() and len(text) < 10 else 0


@dataclass(frozen=True)
class Rows:
    """A part of a table: *items* of *total*, from *begin*."""

    items: Sequence[Any]
    begin: int
    total: int

    @property
    def before(self) -> int | None:
        return max(0, self.begin - ROWS) if self.begin else None

    @property
    def after(self) -> int | None:
        return self.begin + ROWS if self.begin + ROWS < self.total else None


def rows(items: Sequence[Any], begin: int) -> Rows:
    begin = begin if begin < len(items) else 0
    return Rows(items[begin : begin + ROWS], begin, len(items))


class Overview(Page):
    name, title = "overview", "Overview"

    def questions(self, seen: Seen, parameters: Parameters) -> list[Question]:
        question = why_of(seen.world)
        return [question] if question else []

    def facts(self, seen: Seen, parameters: Parameters) -> dict[str, Any]:
        world = seen.world
        why = seen.known(why_of(world))
        sentence = sentences.of_world(world, why)
        handlers = world.by_lag
        histories = [handler.history for handler in handlers]
        return {
            "sentence": sentence,
            "problems": sentences.others(sentences.problems(world, why), sentence)[:10],
            "handlers": rows(handlers, place(parameters)),
            "state_of": sentences.state_of,
            "lag_line": lag_line,
            "depth": sum(handler.depth for handler in handlers),
            "depth_line": history.total([each.line(lambda sample: sample.depth) for each in histories]),
            "lag_seconds": max((handler.lag_seconds for handler in handlers), default=0.0),
            "settled_rate": added([handler.settled_rate for handler in handlers]),
            "settled_line": history.total([each.handled() for each in histories]),
            "registered_rate": added([handler.registered_rate for handler in handlers]),
            "bound": sum(handler.bound for handler in handlers),
            "threads": sum(handler.threads for handler in handlers),
            "workers": len({worker for handler in handlers for worker in handler.workers}),
            "letters": sum(handler.letters for handler in handlers),
        }


def lag_line(handler: HandlerState) -> list[tuple[float, float]]:
    return handler.history.line(lambda sample: sample.lag_seconds)


def added(rates: Sequence[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


class HandlerPage(Page):
    name, title = "handler", "Handler"

    def questions(self, seen: Seen, parameters: Parameters) -> list[Question]:
        handler = seen.handler(parameters)
        paused = Question("paused", handler.name) if handler.paused else None
        return [question for question in (why_of(only(handler)), paused) if question]

    def facts(self, seen: Seen, parameters: Parameters) -> dict[str, Any]:
        handler = seen.handler(parameters)
        found = sentences.of_handler(handler, seen.known(why_of(only(handler))))
        held = {hold.thread: hold for hold in handler.holds}
        paused = seen.known(Question("paused", handler.name)).value or [] if handler.paused else []
        return {
            "handler": handler,
            "state": sentences.state_of(handler),
            "sentence": found[0] if found else calm(handler),
            "problems": found[1:],
            "tubes": rows(handler.oldest, place(parameters)),
            "deepest": handler.deepest[:10],
            "held": held,
            "paused": paused[:ROWS],
            "paused_total": len(paused),
            "layout": max((shard.layout for shard in handler.shards if shard.layout), default=None),
            "lag_line": lag_line(handler),
            "depth_line": handler.history.line(lambda sample: sample.depth),
            "settled_line": handler.history.handled(),
        }


def only(handler: HandlerState) -> World:
    return World(handlers={handler.name: handler})


def calm(handler: HandlerState) -> sentences.Sentence:
    """The sentence of a handler where nothing is wrong."""
    if not handler.depth:
        return sentences.Sentence(f"Nothing waits in {handler.name}", "good", "nothing waits")
    longest = sentences.roughly(handler.lag_seconds)
    return sentences.Sentence(f"All threads of {handler.name} move; the longest wait is {longest}", "good", "all move")


class ThreadPage(Page):
    name, title = "thread", "Thread"

    def questions(self, seen: Seen, parameters: Parameters) -> list[Question]:
        handler, thread = seen.handler(parameters), parameters.get("thread", "")
        explained = Question("explain", handler.name, thread)
        state = seen.known(explained).value
        tubes = state.tubes[:3] if isinstance(state, ThreadState) else []
        asked = [explained, *[Question("peek", handler.name, thread, tube.priority) for tube in tubes]]
        return [*asked, Question("letters", handler.name)] if handler.letters else asked

    def facts(self, seen: Seen, parameters: Parameters) -> dict[str, Any]:
        handler, thread = seen.handler(parameters), parameters.get("thread", "")
        explained = seen.known(Question("explain", handler.name, thread))
        state: ThreadState | None = explained.value
        letters: list[Dead] = seen.known(Question("letters", handler.name)).value or [] if handler.letters else []
        own = [letter for letter in letters if letter.thread == thread]
        return {
            "handler": handler,
            "thread": thread,
            "explained": explained,
            "state": state,
            "word": sentences.word_of(state) if state else ("unknown", "idle"),
            "sentence": why(thread, state, explained.error, seen.bodies),
            "tubes": [self.tube(seen, handler, thread, tube) for tube in state.tubes[:3]] if state else [],
            "letters": [letter_of(seen, handler.name, letter) for letter in own[:5]],
            "letters_total": len(own),
        }

    def tube(self, seen: Seen, handler: HandlerState, thread: str, tube: Any) -> dict[str, Any]:
        peeked = seen.known(Question("peek", handler.name, thread, tube.priority))
        requests = [request_of(seen, handler.name, *each) for each in peeked.value or []]
        return {"state": tube, "requests": requests, "error": seen.bodies.error(tube.error)}


def why(thread: str, state: ThreadState | None, error: str, bodies: Bodies) -> sentences.Sentence:
    """Why a thread moves or does not, as `sharded-queue explain` says it."""
    if state is None:
        return sentences.Sentence(f"Thread {thread}: {error}", "idle", error)
    text = explain.sentence(state)
    if (
        not state.is_held
        and (tried := max(state.tubes, key=lambda tube: tube.attempts, default=None))
        and tried.attempts
    ):
        failed = f"its first request failed {sentences.times(tried.attempts)}: {bodies.error(tried.error)}"
        text = f"{text}; {failed}"
    word, tone = sentences.word_of(state)
    return sentences.Sentence(text[0].upper() + text[1:], tone, f"{thread} {word}")


def request_of(seen: Seen, handler: str, sequence: int, message: bytes) -> dict[str, Any]:
    peeked = peek.peeked(sequence, message)
    return {
        "sequence": sequence,
        "waits_seconds": peeked.waits_seconds,
        "registered_at": peeked.registered_at,
        **stored_of(seen, handler, peeked),
    }


def stored_of(seen: Seen, handler: str, stored: answers.Stored) -> dict[str, Any]:
    if stored.unreadable is not None:
        text = "hidden" if seen.bodies.are_hidden else stored.unreadable[:2000]
        return {"body": text, "headers": "", "is_readable": False}
    return {
        "body": seen.bodies.text(handler, stored.request),
        "headers": seen.bodies.headers(stored.headers),
        "is_readable": True,
    }


def letter_of(seen: Seen, handler: str, letter: Dead) -> dict[str, Any]:
    return {
        "handler": handler,
        "letter": letter,
        "error": seen.bodies.error(letter.error),
        "traceback": seen.bodies.traceback(letter.traceback),
        **stored_of(seen, handler, dead_letters.answer(letter)),
    }
