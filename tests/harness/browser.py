"""A real Chromium, the machine's own, and pages of it that report what goes wrong in them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

from tests.harness.requirements import chromium

NARROW = 375
"""The width of a small phone, in CSS pixels."""

LOCAL = frozenset({"", "127.0.0.1", "localhost"})


@asynccontextmanager
async def opened_browser() -> AsyncIterator[Browser]:
    """Without a sandbox, which root cannot have: only pages of this project are opened."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        await browser.close()


class Watched:
    """Everything about a page that must not happen: errors of its scripts, lost files, requests to other machines."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", self._failed)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in {"data", "blob"} and (url.hostname or "") not in LOCAL:
            self.faults.append(f"foreign: {request.url}")

    def _failed(self, request: Request) -> None:
        """What the browser gives up because it leaves the page, such as an icon on its way, is not lost."""
        if request.failure != "net::ERR_ABORTED":
            self.faults.append(f"failed: {request.url} ({request.failure})")


async def overflow(page: Page) -> list[str]:
    """What makes the page scroll sideways: the elements that end right of its edge, the outermost first."""
    return await page.evaluate("""() => {
        const width = document.documentElement.clientWidth;
        if (document.documentElement.scrollWidth <= width) return [];
        return [...document.body.querySelectorAll("*")]
            .filter(element => element.getBoundingClientRect().right > width + 1)
            .map(element => `${element.tagName.toLowerCase()}.${element.className}`).slice(0, 5);
    }""")
