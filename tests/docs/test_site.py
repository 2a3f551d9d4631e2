"""The site in a real browser, opened from its folder: what a reader without a network gets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, ViewportSize

from tests.harness.browser import NARROW, Watched, opened_browser, overflow

PHONE = ViewportSize(width=NARROW, height=700)
DESK = ViewportSize(width=1280, height=900)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with opened_browser() as browser:
        yield browser


def pages(site: Path) -> list[Path]:
    found = sorted(site.rglob("*.html"))
    assert len(found) >= 30
    return found


async def test_no_page_has_an_error_asks_another_machine_or_scrolls_sideways_on_a_phone(
    site: Path, browser: Browser
) -> None:
    page = await browser.new_page(viewport=PHONE)
    watched = Watched(page)
    faults: dict[str, list[str]] = {}
    for each in pages(site):
        await page.goto(each.as_uri())
        if found := [*watched.faults, *await overflow(page)]:
            faults[str(each.relative_to(site))] = found
        watched.faults.clear()

    assert faults == {}


async def test_the_search_works_without_a_server(site: Path, browser: Browser) -> None:
    page = await browser.new_page(viewport=DESK)
    watched = Watched(page)

    await page.goto((site / "index.html").as_uri())
    await page.get_by_role("textbox", name="Search").fill("lease")
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="What is promised", exact=True).last.click()

    assert await page.title() == "What is promised - sharded-queue"
    assert watched.faults == []


async def test_every_page_is_in_the_navigation(site: Path, browser: Browser) -> None:
    page = await browser.new_page(viewport=DESK)
    await page.goto((site / "index.html").as_uri())

    linked = await page.eval_on_selector_all(".sidebar-tree a", "links => links.map(link => link.href.split('#')[0])")

    made = {"genindex.html", "search.html", "index.html", "README.html"}
    missing = {each.name for each in pages(site) if each.as_uri() not in linked} - made
    assert missing == set()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_pictures_are_there(site: Path, browser: Browser, scheme: str) -> None:
    page = await browser.new_page(viewport=DESK, color_scheme=scheme)
    await page.goto((site / "README.html").as_uri())

    widths = await page.eval_on_selector_all("article img", "images => images.map(image => image.naturalWidth)")

    assert widths
    assert all(widths)
