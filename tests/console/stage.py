"""A run to look at: a redis-server with requests, a worker that serves them, a console, and a browser before it."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect
from redis.asyncio import Redis

from sharded_queue import Queue, RedisStorage
from tests.console.shop import ATTACK, MARKUP, TURNED, Charge, Mail
from tests.harness.cli_process import CliProcess
from tools.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
MODULE = "tests.console.shop"
QUICK = {
    "QUEUE_COORDINATOR_DELAY": "0.2",
    "QUEUE_METRICS_PORT": "0",
    "QUEUE_REDIS_TIMEOUT": "1",
    "QUEUE_WORKER_BATCH_SIZE": "1",
    "QUEUE_WORKER_CONCURRENCY": "8",
    "QUEUE_WORKER_NAME": "worker-a",
}
MAILS = 3


@dataclass
class Stage:
    redis: RedisServer
    browser: Browser
    folder: Path
    processes: list[CliProcess] = field(default_factory=list)
    sessions: list[Any] = field(default_factory=list)
    """Cookies of consoles whose link was opened."""

    def run(self, *words: str, **environment: str) -> CliProcess:
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
        given = {**QUICK, "PYTHONPATH": path, "QUEUE_REDIS_ADDRESS": self.redis.address, **environment}
        self.processes.append(CliProcess(*words, place=self.folder, environment=given))
        return self.processes[-1]

    def console(self, *words: str, **environment: str) -> str:
        """Start a console; its address."""
        process = self.run("web", "--port", "0", *words, **environment)
        found = re.search(r"http://\S+/", process.line("the console is at"))
        assert found
        if "--allow-actions" in words and not {"--users", "--trusted-proxy-header"} & {*words}:
            self.open_link(process.line("?token=").strip())
        return found[0]

    def open_link(self, link: str) -> None:
        """For all windows that are opened later."""
        context = self.browser.new_context()
        context.new_page().goto(link)
        self.sessions += context.cookies()
        context.close()

    def ask(self, question: Callable[[Redis], Awaitable[Any]]) -> Any:
        """In an OS thread of its own: Playwright has an event loop in ours."""

        async def once() -> Any:
            async with Redis(port=self.redis.port) as redis:
                return await question(redis)

        with ThreadPoolExecutor(1) as executor:
            return executor.submit(lambda: asyncio.run(once())).result()

    def register(self, handler: Any, *requests: Any, **options: Any) -> None:
        self.ask(lambda redis: Queue(RedisStorage(redis)).register(handler, *requests, **options))

    def fill(self) -> None:
        """Orders that a worker soon handles, one that fails and one that takes for ever, and mails that all die."""
        orders = [{"order": number, "customer": number % 12, "card": "4111 1111"} for number in range(48)]
        self.register(Charge, *orders)
        mails = [{"to": to, "text": f"{MARKUP} {TURNED}"} for to in ("a/b?c=d&e#f", ATTACK) for _ in range(MAILS)]
        self.register(Mail, *mails)


def stored(stage: Stage, question: Callable[[RedisStorage], Any]) -> Any:
    return stage.ask(lambda redis: question(RedisStorage(redis)))


@contextmanager
def staged(redis: RedisServer, browser: Browser, folder: Path) -> Iterator[Stage]:
    stage = Stage(redis, browser, folder)
    try:
        yield stage
    finally:
        for process in stage.processes:
            process.kill()


class Window:
    """A page in a browser that notes what no page may do: fail, ask another host, or break its own policy."""

    def __init__(self, browser: Browser, sessions: Sequence[Any], **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(**options)
        self.context.add_cookies(sessions)
        self.page: Page = self.context.new_page()
        self.faults: list[str] = []
        self.hosts: set[str] = set()
        self.page.on(
            "console", lambda said: self.faults.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def open(self, address: str) -> Page:
        self.page.goto(address)
        return self.page

    def follow(self, address: str) -> Page:
        """Open a page, and wait until it is connected."""
        self.open(address)
        return self.live()

    def live(self) -> Page:
        """Wait until the page is connected. Not for a function: to ask it again is against the page's own policy."""
        expect(self.page.locator("#link")).to_have_text("live", timeout=30_000)
        return self.page


LONGEST_LINES = """
    () => {
        const canvas = document.createElement("canvas").getContext("2d");
        const longest = {prose: 0, code: 0};
        for (const each of document.querySelectorAll("main :is(h1, h2, p, pre, td, th, dd, .problems li)")) {
            const style = getComputedStyle(each);
            canvas.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
            const range = document.createRange();
            range.selectNodeContents(each);
            const widest = Math.max(0, ...[...range.getClientRects()].map((line) => line.width));
            const characters = widest / canvas.measureText("abcdefghijklmnopqrstuvwxyz").width * 26;
            const kind = each.matches("pre, td, th, dd, .head") ? "code" : "prose";
            longest[kind] = Math.max(longest[kind], Math.round(characters));
        }
        return longest;
    }
"""


def longest_lines(page: Page) -> dict[str, int]:
    """Characters of the longest line on a page: of its sentences, and of requests and tables."""
    found: dict[str, int] = page.evaluate(LONGEST_LINES)
    return found


def faults_of(shown: Window) -> str:
    """What axe finds on a page, and how wide the page is."""
    found = Axe().run(shown.page)
    width = shown.page.evaluate("document.documentElement.scrollWidth")
    return (found.generate_report() if found.violations_count else "") + f"{width} pixels wide"
