"""`sharded-queue web` before a real browser: each page of a real run, live, for everybody, and safe from names."""

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.console.shop import ATTACK, Charge
from tests.console.stage import MAILS, MODULE, Stage, Window, faults_of, longest_lines

pytestmark = pytest.mark.redis

PATHS = {
    "overview": "",
    "handler": "handler?handler=shop.Charge",
    "thread": "thread?handler=shop.Charge&thread=7",
    "hostile": f"thread?handler=shop.Mail&thread={quote(ATTACK, safe='')}",
    "unknown": "thread?handler=shop.Nothing&thread=1",
}


@pytest.fixture(scope="module")
def address(stage: Stage) -> str:
    """A console over a run that has come to rest: one thread failed, one is at work, all mails are dead."""
    stage.fill()
    worker = stage.run("worker", MODULE)
    worker.line("waits 3")
    return stage.console("--module", MODULE)


def test_overview_says_which_thread_waits_and_why(address: str, window: Callable[..., Window]) -> None:
    page = window().open(address)

    expect(page.locator("h1")).to_contain_text(
        re.compile(r"Thread 7 of shop.Charge is blocked and waits .*: its next try")
    )
    expect(page.locator("h1")).to_contain_text("Declined: the card of order 7 has expired")


def test_sentence_leads_to_the_thread_with_its_requests(address: str, window: Callable[..., Window]) -> None:
    page = window().open(address)
    page.get_by_role("heading", level=1).get_by_role("link").click()

    expect(page.locator("h1")).to_contain_text("Thread 7 is blocked")
    expect(page.locator(".requests pre").first).to_contain_text('"order": 7')


def test_request_is_shown_as_its_handler_redacts_it(address: str, window: Callable[..., Window]) -> None:
    page = window().open(f"{address}{PATHS['thread']}")

    expect(page.locator(".requests pre").first).to_contain_text('"card": "…"')
    assert "4111" not in page.content()


def test_last_failure_is_shown_with_its_traceback(address: str, window: Callable[..., Window]) -> None:
    page = window().open(f"{address}{PATHS['thread']}")
    failure = page.get_by_role("article", name=re.compile("^Failure of request"))
    failure.first.locator("summary").click()

    expect(failure.first.locator("pre")).to_contain_text("in perform")
    expect(failure.first.locator("pre")).to_contain_text("ValueError: Declined: the card of order 7 has expired")


def test_page_follows_without_a_reload(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    page = window().follow(f"{address}{PATHS['handler']}")
    row = page.locator("tr", has=page.get_by_role("link", name="7", exact=True))
    before = int(row.locator("td.number").nth(1).inner_text())
    stage.register(Charge, {"order": 100, "customer": 7})

    expect(row.locator("td.number").nth(1)).to_have_text(str(before + 1))


def test_thread_at_work_names_its_worker(address: str, window: Callable[..., Window]) -> None:
    page = window().open(f"{address}thread?handler=shop.Charge&thread=9")

    expect(page.locator("h1")).to_contain_text("Thread 9 is bound: worker-a/")


def test_thread_is_found_by_its_name(address: str, window: Callable[..., Window]) -> None:
    page = window().open(f"{address}{PATHS['handler']}")
    page.get_by_label("Find a thread by its name").fill("9")
    page.keyboard.press("Enter")

    expect(page.locator("h1")).to_contain_text("Thread 9")


def test_hostile_names_errors_and_bodies_are_text(address: str, window: Callable[..., Window]) -> None:
    page = window().follow(f"{address}{PATHS['hostile']}")

    expect(page.get_by_role("article", name=re.compile("^Dead letter"))).to_have_count(MAILS)
    expect(page.locator("article.letter strong").first).to_contain_text(f"RuntimeError: {ATTACK}")
    assert page.evaluate("window.attacked") is None
    assert not page.locator("main img").count()
    assert "\x1b" not in page.content()
    assert "\u202e" not in page.content()


def test_workers_page_shows_on_a_phone_how_far_the_longest_work_is(address: str, window: Callable[..., Window]) -> None:
    shown = window(viewport={"width": 375, "height": 800})
    page = shown.open(f"{address}workers")

    expect(page.locator("main")).to_contain_text("9: 1 of 3: lines of an invoice", timeout=20_000)
    assert faults_of(shown) == "375 pixels wide"


def test_lines_stay_short_on_a_large_screen(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    """Nothing is wider than the screen, sentences are no longer than a line of a book, and requests can be read."""
    stage.register(Charge, {"order": 901, "customer": 7, "note": "as was agreed on the telephone, " * 50})
    shown = window(viewport={"width": 2560, "height": 1440})
    found = {}
    for name, path in PATHS.items():
        page = shown.open(f"{address}{path}")
        if name != "unknown":
            shown.live()
        lines = longest_lines(page)
        width = page.evaluate("document.documentElement.scrollWidth")
        found[name] = width, lines["prose"] <= 100, lines["code"] <= 140

    assert found == dict.fromkeys(PATHS, (2560, True, True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_for_everybody(address: str, window: Callable[..., Window], scheme: str) -> None:
    """Axe finds nothing, nothing is cut off on a small screen, and no page breaks its policy or asks another host."""
    shown = window(color_scheme=scheme, viewport={"width": 375, "height": 800})
    found = {}
    for name, path in PATHS.items():
        shown.open(f"{address}{path}")
        if name != "unknown":
            shown.live()
        found[name] = faults_of(shown)
        if name == "unknown":  # a browser says so where a page is not there
            shown.faults.clear()

    assert found == dict.fromkeys(PATHS, "375 pixels wide")
    assert shown.hosts == {address.split("/")[2]}
    assert not shown.faults


def test_no_color_is_between_two_schemes(address: str, window: Callable[..., Window]) -> None:
    """When a machine turns dark in the evening, text and what is behind it change together, so both stay readable."""
    page = window(color_scheme="light").open(address)

    page.emulate_media(color_scheme="dark")
    assert page.evaluate("document.getAnimations().length") == 0


def test_page_works_without_scripts(address: str, window: Callable[..., Window]) -> None:
    page = window(java_script_enabled=False).open(address)

    expect(page.locator("h1")).to_contain_text("Thread 7 of shop.Charge")


def test_page_outlasts_an_outage_and_says_so(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    page = window().follow(address)
    stage.redis.pause()
    try:
        expect(page.get_by_role("alert")).to_contain_text("Nothing was read of Redis since", timeout=15_000)
        expect(page.locator("h1")).to_contain_text("Thread 7 of shop.Charge")
    finally:
        stage.redis.resume()

    expect(page.get_by_role("alert")).to_have_count(0, timeout=15_000)
