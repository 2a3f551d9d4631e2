"""One redis-server and one browser for each file of tests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.console.stage import Stage, Window, staged
from tests.harness.requirements import chromium, require_redis
from tools.redis_server import RedisServer


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def stage(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    require_redis()
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    with staged(server, browser, tmp_path_factory.mktemp("run")) as stage:
        yield stage
    server.kill()


@pytest.fixture
def window(browser: Browser, stage: Stage) -> Iterator[Callable[..., Window]]:
    """Opens windows, each with its own cookies, and the sessions of consoles that printed a link."""
    windows: list[Window] = []

    def opened(**options: Any) -> Window:
        windows.append(Window(browser, stage.sessions, **options))
        return windows[-1]

    yield opened
    for window in windows:
        window.context.close()
