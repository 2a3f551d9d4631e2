"""
The pages: what each needs to know, and what it shows of it.

A page asks nothing. It names the questions whose answers it shows; the reader asks them, for all pages together.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from starlette.datastructures import QueryParams

from sharded_queue.admin import answers, words, workers
from sharded_queue.admin.bodies import Bodies
from sharded_queue.admin.search import Found, Letter, Search
from sharded_queue.admin.words import Sentence
from sharded_queue.printable import counted
from sharded_queue.state import Delayed, PastFailure, ThreadState, TubeState, Upcoming
from sharded_queue.storage import digest_of
from sharded_queue.web import history
from sharded_queue.web.actions import ACTIONS, Button, search_of
from sharded_queue.web.details import NOTHING, Answer, Details, Question
from sharded_queue.web.host import Host
from sharded_queue.web.jobs import Jobs
from sharded_queue.web.people import Role
from sharded_queue.web.world import WatchedHandler, World

ROWS = 25
"""Rows of a table. An update of a page with this many stays below 20 kB."""

Parameters = QueryParams


class NotFound(Exception):
    """The address names something that this console does not know."""

    status = 404


class NotForAll(NotFound):
    """The page is not for this person."""

    status = 403


@dataclass(frozen=True)
class Seen:
    """What a page may show: the world, and the answers to its questions."""

    world: World
    details: Details
    bodies: Bodies
    jobs: Jobs
    may: frozenset[str] = frozenset()
    """The names of the actions that the person may take."""

    def offered(self, *names: str) -> list[Button]:
        """Those of these actions that the person may take."""
        return [ACTIONS[name] for name in names if name in self.may]

    def known(self, question: Question | None) -> Answer:
        return self.details.known(question) if question else NOTHING

    def letters(self, handler: WatchedHandler) -> list[Letter]:
        return (self.known(Question("letters", handler.name)).value or []) if handler.letters else []

    def handler(self, parameters: Parameters) -> WatchedHandler:
        name = parameters.get("handler", "")
        if name not in self.world.handlers:
            raise NotFound(f"This console knows no handler {name!r}.")
        return self.world.handlers[name]


class Page:
    """*name* is its path."""

    name: str
    title: str
    role: Role = "viewer"
    """The least role of those who may see it."""
    parameters: Sequence[str] = ("handler", "from")
    """What its address may say. All else makes no difference."""

    @property
    def template(self) -> str:
        return f"{self.name}.html"

    def questions(self, seen: Seen, parameters: Parameters) -> list[Question]:
        """What has to be read for it, beside the world."""
        return []

    def facts(self, seen: Seen, parameters: Parameters) -> dict[str, Any]:
        """What its template shows."""
        raise NotImplementedError


def why_of(world: World) -> Question | None:
    """Asks about the thread that waits longest, if somebody should look at it."""
    for handler in world.by_lag:
        if tube := words.problem_tube(handler):
            return Question("explain", handler.name, tube.thread)
    return None


def thread_in(answer: Answer, bodies: Bodies) -> ThreadState | None:
    return bodies.thread(answer.value) if isinstance(answer.value, ThreadState) else None


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
    parameters = ("from",)

    def questions(self, seen: Seen, parameters: Parameters) -> list[Question]:
        question = why_of(seen.world)
        return [question] if question else []

    def facts(self, seen: Seen, parameters: Parameters) -> dict[str, Any]:
        world = seen.world
        why, handlers = thread_in(seen.known(why_of(world)), seen.bodies), world.by_lag
        found = words.headline(handlers, world.unreadable, why) if world.at else [words.NOTHING_READ]
        sentence, *problems = found
        histories = [handler.history for handler in handlers]
        return {
            "sentence": sentence,
            "problems": problems[:10],
            "handlers": rows(handlers, place(parameters)),
            "state_of": lambda handler: words.judge_handler(handler)[0],
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


def lag_line(handler: WatchedHandler) -> list[tuple[float, float]]:
    return handler.history.line(lambda sample: sample.lag_seconds)


def added(rates: Sequence[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


class HandlerPage(Page):
    name, title = "handler", "Handler"
    parameters = ("handler", "state", "from")

    def questions(self, seen: Seen, parameters: Parameters) -> list[Question]:
        handler = seen.handler(parameters)
        paused = Question("paused", handler.name) if handler.paused else None
        return [question for question in (why_of(only(handler)), paused) if question]

    def facts(self, seen: Seen, parameters: Parameters) -> dict[str, Any]:
        handler = seen.handler(parameters)
        sentence, *problems = words.judge_handler(handler, thread_in(seen.known(why_of(only(handler))), seen.bodies))
        listed, chosen = sorted(handler.oldest, key=words.urgency), parameters.get("state", "")
        held = {hold.thread: hold for hold in handler.holds}
        paused = seen.known(Question("paused", handler.name)).value or [] if handler.paused else []
        return {
            "handler": handler,
            "state": sentence.state,
            "sentence": sentence,
            "problems": problems,
            "tubes": rows([tube for tube in listed if chosen in ("", tube.state)], place(parameters)),
            "states": Counter(tube.state for tube in listed),
            "chosen": chosen,
            "deepest": handler.deepest[:10],
            "held": held,
            "paused": paused[:ROWS],
            "paused_total": len(paused),
            "offered": seen.offered(
                "resume" if handler.is_paused else "pause", *["resume-exhausted"] * bool(handler.exhausted)
            ),
            "may_reshard": bool(seen.offered("reshard")),
            "layout": max((shard.layout for shard in handler.shards if shard.layout), default=None),
            "lag_line": lag_line(handler),
            "depth_line": handler.history.line(lambda sample: sample.depth),
            "settled_line": handler.history.handled(),
        }


def only(handler: WatchedHandler) -> World:
    return World(handlers={handler.name: handler})


class ThreadPage(Page):
    name, title = "thread", "Thread"
    parameters = ("handler", "thread", "priority", "after", "number")

    def questions(self, seen: Seen, parameters: Parameters) -> list[Question]:
        handler, thread = seen.handler(parameters), parameters.get("thread", "")
        explained = Question("explain", handler.name, thread)
        state = seen.known(explained).value
        tubes = state.tubes[:3] if isinstance(state, ThreadState) else []
        asked = [explained, *[self.peeked(handler, thread, tube.priority, parameters) for tube in tubes]]
        return [*asked, Question("letters", handler.name)] if handler.letters else asked

    def facts(self, seen: Seen, parameters: Parameters) -> dict[str, Any]:
        handler, thread = seen.handler(parameters), parameters.get("thread", "")
        explained = seen.known(Question("explain", handler.name, thread))
        state: ThreadState | None = explained.value
        own = [letter for letter in seen.letters(handler) if letter.dead.thread == thread]
        return {
            "handler": handler,
            "thread": thread,
            "explained": explained,
            "state": state,
            "sentence": why(thread, state, explained.error, seen.bodies),
            "tubes": [self.tube(seen, handler, tube, parameters) for tube in state.tubes[:3]] if state else [],
            "failures": [failure_of(seen, each) for each in state.failures] if state else [],
            "drops": bool(seen.offered("drop-requests")),
            "letters": [letter_of(seen, handler.name, letter) for letter in own[:5]],
            "letters_total": len(own),
            "offered": seen.offered(*switches(state)),
        }

    def tube(self, seen: Seen, handler: WatchedHandler, tube: TubeState, parameters: Parameters) -> dict[str, Any]:
        thread = parameters.get("thread", "")
        question = self.peeked(handler, thread, tube.priority, parameters)
        found = seen.known(question).value or []
        requests = [request_of(seen, handler.name, tube.priority, *each) for each in found]
        return {
            "state": tube,
            "requests": requests,
            "error": seen.bodies.error(tube.error),
            "after": question.after,
        }

    def peeked(self, handler: WatchedHandler, thread: str, priority: int, parameters: Parameters) -> Question:
        """Asks for the page of a tube that the address names, or for its first one."""
        after = number_of(parameters.get("after"))
        if (number := number_of(parameters.get("number"))) is not None:
            after = number - 1
        elif parameters.get("priority") != str(priority):
            after = None
        return Question("peek", handler.name, thread, priority, after)


def failure_of(seen: Seen, failure: PastFailure) -> dict[str, Any]:
    return {
        "failure": failure,
        "error": seen.bodies.error(failure.error),
        "traceback": seen.bodies.traceback(failure.traceback),
    }


def switches(state: ThreadState | None) -> list[str]:
    """What can be done to a thread: one that backs off or is exhausted may be paused, or resumed at once."""
    if state is None or (state.blocked_seconds is None and state.exhausted is None):
        return ["pause"]
    return ["resume"] if state.blocked_seconds == inf else ["resume", "pause"]


def number_of(text: str | None) -> int | None:
    """A number that somebody may have typed."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 17 else None


def why(thread: str, state: ThreadState | None, error: str, bodies: Bodies) -> Sentence:
    """What becomes of a thread, as `sharded-queue explain` says it."""
    if state is None:
        return Sentence(f"Thread {thread}: {error}", "idle", error, state="unknown")
    sentence = words.judge_thread(bodies.thread(state))
    return sentence._replace(text=sentence.text[0].upper() + sentence.text[1:])


def request_of(seen: Seen, handler: str, priority: int, sequence: int, message: bytes) -> dict[str, Any]:
    peeked = answers.peeked(priority, sequence, message)
    return {
        "name": f"{priority}:{sequence}:{digest_of(message)}",
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


def letter_of(seen: Seen, handler: str, found: Letter) -> dict[str, Any]:
    letter = found.dead
    return {
        "handler": handler,
        "name": found.name,
        "letter": letter,
        "error": seen.bodies.error(letter.error),
        "traceback": seen.bodies.traceback(letter.traceback),
        **stored_of(seen, handler, answers.letter(letter)),
    }


class OneOf(Page):
    """A page about one handler at a time of those that have something to show: the one that has most, or the chosen."""

    def number(self, handler: WatchedHandler) -> int:
        raise NotImplementedError

    def handlers(self, seen: Seen) -> list[WatchedHandler]:
        having = [handler for handler in seen.world.handlers.values() if self.number(handler)]
        return sorted(having, key=lambda handler: (-self.number(handler), handler.name))

    def chosen(self, seen: Seen, parameters: Parameters) -> WatchedHandler | None:
        if parameters.get("handler"):
            return seen.handler(parameters)
        return next(iter(self.handlers(seen)), None)


class DeadPage(OneOf):
    name, title = "dead", "Dead letters"
    parameters = ("handler", "text", "error", "of_thread", "from")

    def number(self, handler: WatchedHandler) -> int:
        return handler.letters

    def questions(self, seen: Seen, parameters: Parameters) -> list[Question]:
        handler = self.chosen(seen, parameters)
        if handler is None or not handler.letters:
            return []
        return [Question("letters", handler.name), Question("search", handler.name, search=search_of(parameters))]

    def facts(self, seen: Seen, parameters: Parameters) -> dict[str, Any]:
        handler, search = self.chosen(seen, parameters), search_of(parameters)
        answers = [seen.known(question) for question in self.questions(seen, parameters)]
        missing = next((answer.error for answer in answers if answer.value is None), "")
        found: Found = (answers[-1].value if answers else None) or Found()
        part = rows(found.letters, place(parameters))
        items = [letter_of(seen, handler.name, letter) for letter in part.items] if handler else []
        return {
            "handler": handler,
            "handlers": self.handlers(seen)[:ROWS],
            "search": search,
            "letters": Rows(items, part.begin, part.total),
            "looked_at": found.looked_at,
            "kinds": found.kinds,
            "sentence": self.sentence(handler, len(found.letters), search, missing),
            "offered": seen.offered("replay-tail", "replay-head", "drop-letters"),
        }

    def sentence(self, handler: WatchedHandler | None, number: int, search: Search, missing: str) -> Sentence:
        if handler is None or not handler.letters:
            whose = f" of {handler.name}" if handler else ""
            return Sentence(f"No request{whose} failed for good", "good", "none")
        if any(search) and missing:
            return Sentence(f"The search in {handler.name} has no answer: {missing}", "idle", "no answer")
        if any(search):
            return Sentence(f"{counted(number, 'dead letter')} of {handler.name} {search.words}", "wait", str(search))
        return Sentence(f"{counted(handler.letters, 'request')} of {handler.name} failed for good", "bad", handler.name)


class LaterPage(OneOf):
    name, title = "later", "Delayed and schedules"

    def number(self, handler: WatchedHandler) -> int:
        return handler.delayed + handler.schedules

    def questions(self, seen: Seen, parameters: Parameters) -> list[Question]:
        handler = self.chosen(seen, parameters)
        if handler is None:
            return []
        kinds = [("delayed", handler.delayed), ("schedules", handler.schedules)]
        return [Question(kind, handler.name) for kind, number in kinds if number]

    def facts(self, seen: Seen, parameters: Parameters) -> dict[str, Any]:
        handler, world = self.chosen(seen, parameters), seen.world
        delayed: list[Delayed] = []
        schedules: list[Upcoming] = []
        if handler:
            delayed = (seen.known(Question("delayed", handler.name)).value or []) if handler.delayed else []
            schedules = (seen.known(Question("schedules", handler.name)).value or []) if handler.schedules else []
        part = rows(delayed, place(parameters))
        items = [delayed_of(seen, world.at, each) for each in part.items]
        return {
            "handler": handler,
            "handlers": self.handlers(seen)[:ROWS],
            "delayed": Rows(items, part.begin, part.total),
            "delayed_actions": seen.offered("run-delayed", "move-delayed", "cancel"),
            "schedules": [schedule_of(seen, world.at, handler.name, each) for each in schedules[: 4 * ROWS] if handler],
            "sentence": coming(handler, world.at, delayed, schedules) if handler else NOTHING_LATER,
            "offered": seen.offered("cancel", "run-delayed", "unschedule", "run-schedule"),
        }


NOTHING_LATER = Sentence("Nothing is delayed or scheduled", "idle", "nothing")


def coming(handler: WatchedHandler, at: float, delayed: Sequence[Delayed], schedules: Sequence[Upcoming]) -> Sentence:
    if not handler.delayed and not handler.schedules:
        return NOTHING_LATER
    times = [each.due_ms for each in delayed[:1]] + [each.next_ms for each in schedules[:1]]
    return words.coming(handler, min(times, default=None), at)


def delayed_of(seen: Seen, at: float, each: Delayed) -> dict[str, Any]:
    answer = answers.delayed(each)
    return {
        "name": f"{answer.shard}:{answer.number}",
        "number": answer.number,
        "thread": answer.thread,
        "priority": answer.priority,
        "due": words.due(each.due_ms, at),
        "due_at": answer.due_at,
        **stored_of(seen, each.tube.shard.handler, answer),
    }


def schedule_of(seen: Seen, at: float, handler: str, each: Upcoming) -> dict[str, Any]:
    return {
        "schedule": each,
        "due": words.due(each.next_ms, at),
        "offered": seen.offered("run-schedule", "edit-schedule", "unschedule"),
        **stored_of(seen, handler, answers.schedule(each)),
    }


class WorkersPage(Page):
    name, title = "workers", "Workers"
    parameters = ("from",)

    def questions(self, seen: Seen, parameters: Parameters) -> list[Question]:
        return [Question("workers", handler.name) for handler in seen.world.by_lag[:ROWS]]

    def facts(self, seen: Seen, parameters: Parameters) -> dict[str, Any]:
        handlers = seen.world.handlers.values()
        told = {
            known.shard: known for each in self.questions(seen, parameters) for known in seen.known(each).value or []
        }
        found = workers.merged(
            told.get(state.shard, workers.Known(state.shard, (), (), {}))._replace(holds=state.held)
            for handler in handlers
            for state in handler.shards
        )
        found.sort(key=lambda each: (-longest_work(each), each.owner))
        threads, held = sum(handler.bound for handler in handlers), sum(len(each.holds) for each in found)
        return {
            "workers": rows(found, place(parameters)),
            "longest_work": longest_work,
            "reported": workers.reported,
            "at": seen.world.at,
            "unlisted": max(0, threads - held),
            "sentence": workers.say_who_works(
                found, threads, is_needed=any(handler.needs_workers for handler in handlers)
            ),
        }


def longest_work(worker: workers.Serving) -> float:
    return max((hold.busy_seconds for hold in worker.holds), default=0.0)


class HostedPage(Page):
    """A page that another package adds."""

    template = "added.html"
    parameters = ("from",)

    def __init__(self, host: Host) -> None:
        self.host, self.name = host, host.name

    @property
    def title(self) -> str:  # type: ignore[override]  # the package says it when it is opened, and the role too
        return self.host.title

    @property
    def role(self) -> Role:  # type: ignore[override]
        return self.host.role

    def facts(self, seen: Seen, parameters: Parameters) -> dict[str, Any]:
        reading = self.host.reading()
        return {
            "reading": reading,
            "rows": rows(reading.content.rows, place(parameters)),
            "sentence": Sentence(reading.content.answer, reading.content.tone, reading.content.key),
        }


class JobPage(Page):
    """What became of an action."""

    name, title = "job", "Action"
    parameters = ("id",)

    def facts(self, seen: Seen, parameters: Parameters) -> dict[str, Any]:
        job = seen.jobs.by_number.get(place(parameters, "id"))
        if job is None:
            raise NotFound("This action is not known any more; the audit log has it.")
        return {"job": job}
