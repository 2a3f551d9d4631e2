"""The console as an ASGI application: its routes, and what lives as long as it does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from sharded_queue.backends.redis.client import RedisOptions
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import Named
from sharded_queue.web import headers
from sharded_queue.web.bodies import Bodies
from sharded_queue.web.details import Details, Question
from sharded_queue.web.live import MOST_PAGES, Channels
from sharded_queue.web.pages import HandlerPage, NotFound, Overview, Page, Seen, ThreadPage
from sharded_queue.web.reader import Reader
from sharded_queue.web.reads import PAGE, reads_of
from sharded_queue.web.templating import environment

PAGES: Sequence[Page] = (Overview(), HandlerPage(), ThreadPage())
BY_NAME = {page.name: page for page in PAGES}
MENU = [page for page in PAGES if page.name not in ("handler", "thread")]
"""Those that are about everything."""
LONGEST_QUERY = 8000


@dataclass(frozen=True)
class Options:
    """How a console is started. *hosts*: the host names that it answers to; empty for all."""

    chosen: Sequence[Named] = ()
    hosts: Sequence[str] = headers.LOOPBACK
    hide_bodies: bool = False


class Console:
    """One reader, its answers, and the browsers that follow them."""

    def __init__(self, storage: RedisStorage, options: Options) -> None:
        self.options = options
        self.reader = Reader(storage, options.chosen)
        self.details = Details(reads_of(storage, self.reader.named), self.cost)
        self.channels = Channels()
        self.bodies = Bodies(options.hide_bodies)
        self.redis = ", ".join(RedisOptions.from_settings().addresses)

    def cost(self, question: Question) -> int:
        """Calls of scripts and commands that a read takes."""
        handler = self.reader.world.handlers.get(question.handler)
        if handler is None or question.kind in ("explain", "peek"):
            return 1
        shards = len(handler.shards)
        return shards + handler.letters // PAGE if question.kind == "letters" else shards

    @property
    def seen(self) -> Seen:
        return Seen(self.reader.world, self.details, self.bodies)

    async def after_round(self) -> None:
        """What open pages show in detail is read, and then they are published."""
        self.details.wanted = self.channels.questions()
        await self.details.refresh()
        self.channels.publish()

    def view(self, page: Page, parameters: QueryParams) -> "PageView":
        return PageView(self, page, parameters)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        await self.reader.round()
        task = asyncio.create_task(self.reader.run(self.after_round))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self.show),
                *[Route(f"/{page.name}", self.show) for page in PAGES],
                Route("/live", self.live),
                Route("/livez", livez),
                Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
            ],
            middleware=[Middleware(headers.Guarded, hosts=self.options.hosts)],
            lifespan=self.lifespan,
        )

    async def show(self, request: Request) -> Response:
        page = BY_NAME[request.url.path.strip("/") or "overview"]
        view = self.view(page, request.query_params)
        try:
            await self.details.fetch(view.questions())
            await self.details.fetch(view.questions())  # the first answers may ask for more: the tubes of a thread
            return HTMLResponse(view.whole())
        except NotFound as error:
            return HTMLResponse(view.error(str(error)), 404)

    async def live(self, request: Request) -> Response:
        parameters = QueryParams(request.query_params.get("query", ""))
        page = BY_NAME.get(request.query_params.get("page", ""))
        if page is None or len(str(parameters)) > LONGEST_QUERY:
            return PlainTextResponse("no such page\n", 404)
        if len(self.channels) >= MOST_PAGES:
            return PlainTextResponse(f"{MOST_PAGES:,} pages are open already: close some\n", 503)
        return EventSourceResponse(self.events(page, parameters))

    async def events(self, page: Page, parameters: QueryParams) -> AsyncIterator[ServerSentEvent]:
        async for event in self.channels.follow((page.name, str(parameters)), self.view(page, parameters)):
            yield ServerSentEvent(event.data, event=event.name)


async def livez(_: Request) -> Response:
    return PlainTextResponse("ok\n")


@dataclass(frozen=True)
class PageView:
    """A page with its parameters, as somebody sees it."""

    console: Console
    page: Page
    parameters: QueryParams

    def questions(self) -> list[Question]:
        try:
            return self.page.questions(self.console.seen, self.parameters)
        except NotFound:
            return []

    def render(self) -> str:
        try:
            template = environment.get_template(f"{self.page.name}.html")
            context = template.new_context(self.facts())
            return "".join(template.blocks["live"](context)).strip()
        except NotFound as error:
            return environment.get_template("gone.html").render(**self.frame(), message=str(error)).strip()

    def whole(self) -> str:
        return environment.get_template(f"{self.page.name}.html").render(self.facts())

    def error(self, message: str) -> str:
        return environment.get_template("error.html").render(**self.frame(), message=message)

    def facts(self) -> dict[str, Any]:
        return self.frame() | self.page.facts(self.console.seen, self.parameters)

    def frame(self) -> dict[str, Any]:
        """What is around every page."""
        return {
            "world": self.console.reader.world,
            "redis": self.console.redis,
            "page": self.page,
            "menu": MENU,
            "parameters": self.parameters,
            "query": str(self.parameters),
        }
