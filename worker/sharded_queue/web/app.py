"""The console as an ASGI application: its routes, and what lives as long as it does."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.datastructures import FormData, QueryParams
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from sharded_queue.admin.acts import ActionContext, given_fields
from sharded_queue.admin.bodies import Bodies
from sharded_queue.admin.handlers import Named
from sharded_queue.backends.redis.client import RedisOptions
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.errors import NotPossible, ShardedQueueError, describe
from sharded_queue.state import ShardState
from sharded_queue.web import csrf, headers
from sharded_queue.web.actions import ACTIONS, Button, Desk, Forbidden, Form, Proposal, TooMany
from sharded_queue.web.audit import Audit, AuditLost
from sharded_queue.web.auth import Authenticated
from sharded_queue.web.details import Answer, Details, Question
from sharded_queue.web.host import Host
from sharded_queue.web.jobs import Job, Jobs
from sharded_queue.web.live import Channels, Places
from sharded_queue.web.one_time_link import LinkRequired, OneTimeLink
from sharded_queue.web.pages import (
    DeadPage,
    HandlerPage,
    HostedPage,
    JobPage,
    LaterPage,
    NotForAll,
    NotFound,
    Overview,
    Page,
    Seen,
    ThreadPage,
    WorkersPage,
)
from sharded_queue.web.people import People, Person
from sharded_queue.web.proxies import Proxied, Proxies
from sharded_queue.web.reader import Reader
from sharded_queue.web.reads import PAGE, reads_of
from sharded_queue.web.refusals import Refusals
from sharded_queue.web.searches import Searches
from sharded_queue.web.templating import environment
from sharded_queue.web.waiting_room import Busy, WaitingRoom

log = logging.getLogger("sharded_queue.web")

PAGES: Sequence[Page] = (Overview(), HandlerPage(), ThreadPage(), DeadPage(), LaterPage(), WorkersPage(), JobPage())
BY_NAME = {page.name: page for page in PAGES}
ABOUT_ONE = ("handler", "thread", "job")
"""Pages that are not in the menu."""
PATHS = frozenset({*BY_NAME, "", "live", "confirm", "act", "static", headers.PROBE[1:], headers.METRICS[1:]})
"""Addresses that no other package's page can have."""
LONGEST_QUERY = 8000
MOST_FIELDS = 2000
MOST_QUESTIONS = 4
"""Of a person, what an action would do: each may look through all dead letters. One is answered at a time."""
SOON_SECONDS = 1.0
"""An action that is done in this time is shown as done at once."""
GIVEN = [how for button in ACTIONS.values() for _, how in given_fields(button.act) if not how.is_person]
CONTEXT = ("handler", *dict.fromkeys(how.name for how in GIVEN))
"""The fields that say what an action is about, for the audit log."""
MOST_NAMED, LONGEST_ABOUT, LONGEST_ACTION = 100, 2000, 80
"""Of a field in the audit log: values, and characters."""
REFUSALS: Mapping[str, type[Exception]] = {
    "forged": csrf.Refused,
    "forbidden": Forbidden,
    "impossible": ShardedQueueError,
}
"""The kinds of refused actions."""


@dataclass(frozen=True)
class Options:
    """How a console is started. *hosts*: the host names that it answers to; empty for all."""

    chosen: Sequence[Named] = ()
    hosts: Sequence[str] = headers.LOOPBACK
    hide_bodies: bool = False
    allow_actions: bool = False
    people: People = field(default_factory=People)
    proxies: Proxies = field(default_factory=Proxies)
    audit: Audit = field(default_factory=Audit)
    added: Sequence[Host] = ()
    """The hosts of pages that other packages add."""


class Console:
    """
    One reader, its answers, and the browsers that follow them. *announce* shows the token of a link to the person who
    started it.
    """

    def __init__(
        self, storage: RedisStorage, options: Options, announce: Callable[[str], None] = lambda _: None
    ) -> None:
        self.options = options
        self.pages = BY_NAME | {host.name: HostedPage(host) for host in options.added}
        self.reader = Reader(storage, options.chosen)
        self.bodies = Bodies(options.hide_bodies)
        reads = reads_of(storage, self.reader.named, self.observed)
        searches = Searches(self.known, self.bodies)
        self.details = Details({**reads, "search": searches.find}, self.cost)
        self.channels, self.places = Channels(), Places()
        self.desk = Desk(ActionContext(storage, self.bodies), self.reader.named)
        self.jobs, self.tokens = Jobs(), csrf.Tokens()
        self.refusals = Refusals(options.people)
        self.link = OneTimeLink(announce) if options.allow_actions and not options.people.are_known else None
        self.questions = WaitingRoom(1, MOST_QUESTIONS)
        self.redis = ", ".join(RedisOptions.from_settings().addresses)
        self._tasks: set[asyncio.Task[None]] = set()

    def cost(self, question: Question) -> int:
        """Calls of scripts and commands that a read takes."""
        if question.kind == "search":
            return 0
        handler = self.reader.world.handlers.get(question.handler)
        if handler is None or question.kind in ("explain", "peek"):
            return 1
        shards = len(handler.shards)
        if question.kind == "workers":  # and what they report
            return 2 * shards
        return shards + handler.letters // PAGE if question.kind == "letters" else shards

    def known(self, question: Question) -> Answer:
        return self.details.known(question)

    def observed(self, handler: str) -> Sequence[ShardState]:
        """What was last read of a handler."""
        found = self.reader.world.handlers.get(handler)
        return found.shards if found else ()

    def may(self, person: Person) -> frozenset[str]:
        """The actions of a person."""
        allowed = ACTIONS.values() if self.options.allow_actions else ()
        return frozenset(action.name for action in allowed if person.is_at_least(action.role))

    async def after_round(self) -> None:
        """What open pages show in detail is read, and then they are published."""
        self.details.wanted = self.channels.questions()
        await self.details.refresh()
        await self.channels.publish()

    def view(self, page: Page | None, parameters: QueryParams, person: Person) -> "PageView":
        if page:  # what it does not know makes no view of its own
            given = [(name, parameters[name]) for name in page.parameters if name in parameters]
            parameters = QueryParams(given)
        return PageView(self, page, parameters, person)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        if self.link:
            self.link.offer()
        await self.reader.round()
        reader = asyncio.create_task(self.reader.run(self.after_round))
        for host in self.options.added:
            host.start()
        try:
            yield
        finally:
            for host in self.options.added:
                host.stop()
            reader.cancel()
            await asyncio.gather(reader, *self._tasks, return_exceptions=True)

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self.show),
                *[Route(f"/{page.name}", self.show) for page in self.pages.values()],
                Route(headers.LIVE, self.live),
                Route("/confirm", self.confirm),
                Route("/act", self.act, methods=["POST"]),
                Route(headers.PROBE, livez),
                Route(headers.METRICS, self.metrics),
                Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
            ],
            middleware=[
                Middleware(headers.Guarded, hosts=self.options.hosts),
                Middleware(Proxied, proxies=self.options.proxies, header=self.options.people.header),
                Middleware(LinkRequired, link=self.link, refusals=self.refusals),
                Middleware(Authenticated, people=self.options.people, refusals=self.refusals),
            ],
            lifespan=self.lifespan,
        )

    async def show(self, request: Request) -> Response:
        page = self.pages[request.url.path.strip("/") or "overview"]
        view = self.view(page, request.query_params, request.state.person)
        try:
            await self.details.fetch(view.questions())
            await self.details.fetch(view.questions())  # the first answers may ask for more: the tubes of a thread
            return HTMLResponse(view.whole())
        except NotFound as error:
            return view.refusal(str(error), error.status)

    async def live(self, request: Request) -> Response:
        parameters = QueryParams(request.query_params.get("query", ""))
        page = self.pages.get(request.query_params.get("page", ""))
        if page is None or len(str(parameters)) > LONGEST_QUERY:
            return PlainTextResponse("no such page\n", 404)
        person = request.state.person
        who = person.name if self.options.people.are_known else headers.client_address(request)
        if complaint := self.places.complaint(who):
            return PlainTextResponse(f"{complaint}: close some\n", 503)
        return Stream(self.places.hold(who), self.events(self.view(page, parameters, person)))

    async def events(self, view: "PageView") -> AsyncIterator[ServerSentEvent]:
        async for event in self.channels.follow(view.key, view):
            yield ServerSentEvent(event.data, event=event.name)

    def action(self, form: Form, person: Person) -> Button:
        """
        Raises:
            NotPossible: there is no such action.
            Forbidden: the person may not take it.
        """
        name = form.get("action", "")
        if name not in ACTIONS:
            raise NotPossible(f"there is no action {name!r:.80}")
        if not self.options.allow_actions:
            raise Forbidden("this console only shows: it was started without --allow-actions")
        action = ACTIONS[name]
        if not person.is_at_least(action.role):
            raise Forbidden(f"this takes the role {action.role}, and {person.name} is {person.role}")
        return action

    async def propose(self, action: Button, form: Form, person: Person) -> Proposal:
        """
        Raises:
            TooMany: the person asks too many questions at once.
        """
        try:
            async with self.questions.enter(person.name):
                return await action.ask(self.desk, form)
        except Busy as error:
            raise TooMany(f"{MOST_QUESTIONS} questions of {person.name} are being answered: wait for them") from error

    async def confirm(self, request: Request) -> Response:
        """Ask before an action: what it does, and to how many."""
        person, form = request.state.person, request.query_params
        view = self.view(None, form, person)
        try:
            action = self.action(form, person)
            proposal = await self.propose(action, form, person)
        except Forbidden as error:
            return self.refuse(request, form, error)
        except ShardedQueueError as error:
            return view.refusal(f"Not possible: {error}", status_of(error))
        session, token = self.tokens.issue(request, person.name)
        facts = {"action": action, "proposal": proposal, "token": token, "back": back_to(request)}
        response = HTMLResponse(view.frame_of("confirm.html", **facts))
        csrf.remember(response, session, request)
        return response

    async def act(self, request: Request) -> Response:
        """Do what was confirmed."""
        person, form = request.state.person, QueryParams()
        try:
            csrf.check_origin(request)
            form = texts(await request.form(max_files=0, max_fields=MOST_FIELDS, max_part_size=csrf.FORM_BYTES))
            self.tokens.check(request, form.get(csrf.FIELD, ""), person.name)
            action = self.action(form, person)
            proposal = await self.propose(action, form, person)
        except (csrf.Refused, ShardedQueueError) as error:
            return self.refuse(request, form, error)
        job = self.jobs.start(proposal.question, person.name, local(form.get("back", "./")))
        about = {"address": headers.client_address(request)} | about_of(form) | action.said | {"job": job.number}
        task = asyncio.create_task(self.carry_out(action, form, job, person, about))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait([task], timeout=SOON_SECONDS)
        return RedirectResponse(f"job?id={job.number}", 303)

    def refuse(self, request: Request, form: Form, error: Exception) -> Response:
        """Say why an action was not begun, also in the audit log."""
        person = request.state.person
        kind = next(kind for kind, errors in REFUSALS.items() if isinstance(error, errors))
        left_out = self.refusals.refuse_action(person.name, kind)
        if left_out is not None:
            about = {"address": headers.client_address(request)} | about_of(form) | {"left_out": left_out or None}
            try:
                self.options.audit.say(person, form.get("action", "")[:LONGEST_ACTION], about, f"Refused: {error}")
            except AuditLost as lost:
                log.error("%s", lost)
        message = str(error) if kind == "forged" else f"Not possible: {error}"
        return self.view(None, QueryParams(), person).refusal(message, status_of(error))

    async def carry_out(self, action: Button, form: Form, job: Job, person: Person, about: dict[str, Any]) -> None:
        try:
            self.options.audit.say(person, action.act.name, about, "begins")
            await action.perform(self.desk, form, job)
        except ShardedQueueError as error:
            job.error = str(error)
        except Exception as error:
            log.exception("%s failed", action.act.name)
            job.error = describe(error)
        try:
            self.options.audit.say(person, action.act.name, about, job.sentence, job.done if job.noun else None)
        except AuditLost as error:
            log.error("%s", error)
            job.unwritten = str(error) * (str(error) != job.error)
        self.details.forget(form.get("handler", ""))

    async def metrics(self, _: Request) -> Response:
        return Response(self.refusals.exposition(), media_type=CONTENT_TYPE_LATEST)


class Stream(EventSourceResponse):
    """Events for one browser, which has a place for as long as it is answered."""

    def __init__(self, place: AbstractContextManager[None], events: AsyncIterator[ServerSentEvent]) -> None:
        super().__init__(events)
        self.place = place

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self.place:
            await super().__call__(scope, receive, send)


def status_of(error: Exception) -> int:
    """Of the answer that refuses an action."""
    if isinstance(error, csrf.Refused):
        return 403
    return 429 if isinstance(error, TooMany) else 400


async def livez(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def texts(form: FormData) -> QueryParams:
    """The fields of a form that are texts; there are no files."""
    return QueryParams([(name, value) for name, value in form.multi_items() if isinstance(value, str)])


def about_of(form: Form) -> dict[str, str]:
    """What an action is about, for the audit log."""
    return {name: ",".join(form.getlist(name)[:MOST_NAMED])[:LONGEST_ABOUT] for name in CONTEXT}


def back_to(request: Request) -> str:
    """The page that a person came from, over several questions."""
    if given := request.query_params.get("back"):
        return local(given)
    came_from = request.headers.get("referer", "")
    _, host, path = came_from.partition(f"//{request.headers.get('host', '')}/")
    return local(path.rpartition("/")[2]) if host else "./"


def local(address: str) -> str:
    """An address of this console; its overview in place of any other."""
    name = address.partition("?")[0]
    return address if name in BY_NAME and len(address) < LONGEST_QUERY else "./"


@dataclass(frozen=True)
class PageView:
    """A page with its parameters, as somebody sees it; *page* is None for what is no page of its own."""

    console: Console
    page: Page | None
    parameters: QueryParams
    person: Person

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two views differ."""
        assert self.page
        return (self.page.name, str(self.parameters), self.person.role)

    @property
    def seen(self) -> Seen:
        console = self.console
        return Seen(console.reader.world, console.details, console.bodies, console.jobs, console.may(self.person))

    def questions(self) -> list[Question]:
        try:
            return self.page.questions(self.seen, self.parameters) if self.page else []
        except NotFound:
            return []

    def render(self) -> str:
        assert self.page
        try:
            template = environment.get_template(self.page.template)
            context = template.new_context(self.facts())
            return "".join(template.blocks["live"](context)).strip()
        except NotFound as error:
            return environment.get_template("gone.html").render(**self.frame(), message=str(error)).strip()

    def whole(self) -> str:
        assert self.page
        return environment.get_template(self.page.template).render(self.facts())

    def refusal(self, message: str, status: int) -> Response:
        return HTMLResponse(self.frame_of("error.html", message=message), status)

    def frame_of(self, template: str, **facts: Any) -> str:
        return environment.get_template(template).render(self.frame() | facts)

    def facts(self) -> dict[str, Any]:
        """
        Raises:
            NotFound: there is no such thing, or the person may not see it.
        """
        assert self.page
        if not self.person.is_at_least(self.page.role):
            raise NotForAll(f"This page takes the role {self.page.role}, and {self.person.name} is {self.person.role}.")
        return self.frame() | self.page.facts(self.seen, self.parameters)

    def frame(self) -> dict[str, Any]:
        """What is around every page."""
        return {
            "world": self.console.reader.world,
            "redis": self.console.redis,
            "page": self.page,
            "person": self.person,
            "menu": self.menu(),
            "parameters": self.parameters,
            "query": str(self.parameters),
        }

    def menu(self) -> list[Page]:
        """The pages about everything that the person may see."""
        pages = [page for page in self.console.pages.values() if page.name not in ABOUT_ONE]
        return [page for page in pages if self.person.is_at_least(page.role)]
