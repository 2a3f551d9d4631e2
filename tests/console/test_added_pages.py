"""Pages of other packages: what the console shows of them, and what the worst of them cannot do to it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from typing import Any

import httpx
import pytest
from starlette.datastructures import QueryParams

from sharded_queue import Queue, RuntimeStorage
from sharded_queue.admin.handlers import Named
from sharded_queue.errors import NotPossible
from sharded_queue.web import host as hosting
from sharded_queue.web.app import PATHS, Console, Options
from sharded_queue.web.command import host_of
from sharded_queue.web.host import MOST_PARTS, MOST_ROWS, Host
from sharded_queue.web.pages import ROWS
from sharded_queue.web.people import People, Person
from sharded_queue.web.proxies import Proxies
from tests.console import added
from tests.console.test_application import HANDLER, ORIGIN, Paid

Get = Callable[..., Any]


def host(name: str, text: str = "") -> Host:
    return Host(EntryPoint("stalls", f"tests.console.added:{name}", "sharded_queue.pages"), text)


@asynccontextmanager
async def opened(page: Host, people: People | None = None) -> AsyncIterator[tuple[Console, Get]]:
    """A console with a page of another package, and what gets its pages."""
    storage = RuntimeStorage()
    await Queue(storage).register(Paid, "ann")
    proxies = Proxies("127.0.0.1")
    options = Options(chosen=[Named(HANDLER, 1)], people=people or People(), proxies=proxies, added=[page])
    console = Console(storage, options)  # type: ignore[arg-type]  # it asks what every storage answers
    await console.reader.round()
    transport = httpx.ASGITransport(console.application())
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        yield console, client.get


async def test_page_of_another_package_is_shown_as_its_own_are() -> None:
    page = host("stalls", "apples,pears")
    page.round()
    async with opened(page) as (_, get):
        shown = (await get("/stalls")).text

    assert '<a href="stalls" aria-current="page">Stalls</a>' in shown
    assert 'data-announce="open">\nAll stalls are open' in shown
    assert shown.index("apples sells apples") < shown.index("pears sells apples")
    assert "<dd>3 apples</dd>" in shown
    assert '<a href="handler?handler=shop.Paid">shop.Paid</a> shop.Absent' in shown
    assert 'aria-label="Sales of apples"><polygon' in shown
    assert '<li class="wait">rain over apples</li>' in shown


async def test_page_is_read_once_for_all_who_look_at_it() -> None:
    page = host("stalls", "apples")
    async with opened(page) as (console, get):
        assert "This page has not been read yet" in (await get("/stalls")).text
        page.round()
        view = console.view(console.pages["stalls"], QueryParams(), Person("ann", "viewer"))
        before = view.render()
        page._page = added.stalls("pears")
        assert [view.render() for _ in range(20)] == [before] * 20
        page.round()
        assert "pears sells apples" in view.render()


async def test_what_a_page_says_is_escaped() -> None:
    page = host("attacking")
    page.round()
    async with opened(page) as (_, get):
        shown = (await get("/stalls")).text

    assert "&lt;img" in shown
    assert "<img src=x" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("refuses", "there are no stalls\\u202e today"),
        ("exits", "SystemExit: 7"),
        ("needs_much", "market is not installed"),
        ("absent", "AttributeError"),
        ("raises", "ZeroDivisionError: no apples"),
        ("answers_nothing", "AttributeError"),
        ("has_another_tone", "&#39;loud&#39; is not a tone"),
        ("draws_no_number", "a line has a point that is not a number"),
        ("has_another_role", "&#39;king&#39; is not a role"),
    ],
)
async def test_page_that_fails_is_a_sentence_on_its_own_page(name: str, said: str) -> None:
    page = host(name)
    page.round()
    async with opened(page) as (_, get):
        shown, others = await get("/stalls"), [await get(path) for path in ("/", "/workers", "/livez")]

    assert shown.status_code == 200
    assert "<strong>No news of" in shown.text
    assert said in shown.text
    assert [(other.status_code, "No news" in other.text) for other in others] == [(200, False)] * 3


async def test_page_that_fails_shows_what_it_said_before() -> None:
    page = host("stalls", "apples")
    page.round()
    assert page._page
    page._page.read = added.raises("").read  # type: ignore[method-assign]
    page.round()
    async with opened(page) as (_, get):
        shown = (await get("/stalls")).text

    assert "This is what was so at" in shown
    assert "apples sells apples" in shown


async def test_page_that_hangs_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not other pages, not the end of the console; and it is shown again when it goes on."""
    monkeypatch.setattr(hosting, "PATIENCE_SECONDS", 0.0)
    page = host("hangs")
    async with opened(page) as (console, get):
        async with console.lifespan(console.application()):
            assert added.hanging.is_read.wait(20)
            hung, other = (await get("/stalls")).text, (await get("/")).text
        assert "the page does not answer the console" in hung
        assert f"{HANDLER}" in other
        added.hanging.goes_on.set()
        page.round()
        assert "It goes on" in (await get("/stalls")).text


async def test_page_without_end_takes_little_of_the_console() -> None:
    page = host("endless")
    page.round()
    content = page.reading().content
    async with opened(page) as (_, get):
        shown = (await get("/stalls")).text

    assert len(content.rows) == MOST_ROWS
    assert len(content.rows[0].remarks) == MOST_PARTS
    assert len(content.answer) < 2 * hosting.LONGEST
    assert shown.count("<article") == ROWS


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_page_is_not_read_without_a_pause(seconds: float) -> None:
    page = host("stalls", "apples")
    page.round()
    assert page._page
    page._page.period_seconds = seconds  # type: ignore[misc]

    assert page.round() == hosting.STEP_SECONDS


async def test_page_is_for_those_of_its_role_only() -> None:
    """Also where somebody opened it live before it had said for whom it is."""
    page = host("for_admins")
    people = People(header="x-person", role_of=lambda name: "admin" if name == "ada" else "viewer")
    async with opened(page, people) as (console, get):
        live = console.view(console.pages["stalls"], QueryParams(), Person("victor", "viewer"))
        live.render()
        page.round()
        victor = {"x-person": "victor"}
        refused, menu = await get("/stalls", headers=victor), (await get("/", headers=victor)).text
        shown = await get("/stalls", headers={"x-person": "ada"})

        assert (refused.status_code, "coins" in refused.text) == (403, False)
        assert "This page takes the role admin, and victor is viewer." in live.render()
        assert "Stalls" not in menu
        assert "The till holds 3 coins" in shown.text


@pytest.mark.parametrize("word", ["absent", "overview", "act", "../x", ""])
def test_page_that_no_package_adds_is_named_at_the_start(word: str) -> None:
    with pytest.raises(NotPossible, match=r"no package adds a page of this name; there are: shardedqueues"):
        host_of(word)


def test_console_has_all_its_paths_to_itself() -> None:
    console = Console(RuntimeStorage(), Options())  # type: ignore[arg-type]
    paths = {route.path.strip("/") for route in console.application().routes}  # type: ignore[attr-defined]

    assert paths == PATHS


def test_page_of_the_operator_is_found_by_its_name() -> None:
    found = host_of("shardedqueues=shop,billing")

    assert (found.name, found._text) == ("shardedqueues", "shop,billing")
