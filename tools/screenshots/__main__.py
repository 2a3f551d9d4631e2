"""
`python -m tools.screenshots`: a real run, and the console's pages of it in docs/console/: light, dark, and small.

It starts a redis-server, two workers and the console, registers orders, and opens each page in a Chromium.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, StorageState, async_playwright, expect
from redis.asyncio import Redis

from sharded_queue import Queue, RedisStorage
from tools.ports import free_port
from tools.redis_server import RedisServer
from tools.screenshots.shop import Charge, Mail, Report

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "console"
MODULE = "tools.screenshots.shop"
CUSTOMERS = ("ada", "alan", "barbara", "donald", "edsger", "grace", "ken", "margaret")
FED_SECONDS = 75
PAGES = {
    "overview": "",
    "handler": "handler?handler=shop.Charge",
    "thread": "thread?handler=shop.Charge&thread=ada",
    "dead": "dead?handler=shop.Mail",
    "later": "later?handler=shop.Charge",
    "workers": "workers",
}
QUESTIONS = {
    "pause": "confirm?action=pause&handler=shop.Charge&thread=ada",
    "drop": "confirm?action=drop-requests&handler=shop.Charge&thread=ada&all=yes",
    "dead-drop": "confirm?action=drop-letters&handler=shop.Mail&all=yes",
}
"""What the console asks before it acts."""
CLUSTER_PAGES = {"shardedqueues": "shardedqueues"}
LOOKS = {"light": ("light", 1280, 800), "dark": ("dark", 1280, 800), "small": ("light", 375, 760)}


async def fill(queue: Queue) -> None:
    orders = [
        {"order": number, "customer": CUSTOMERS[number % 8], "card": "4111 1111 1111 1111"} for number in range(160)
    ]
    await queue.register(Charge, *orders)
    await queue.register(Mail, *[{"order": number, "to": CUSTOMERS[number % 8]} for number in range(1, 90)])
    await queue.register(Charge, *orders[:3], delay_seconds=5400)
    await queue.schedule(Report, {"report": "revenue"}, name="nightly", cron="0 3 * * *", timezone="Europe/Berlin")
    await queue.schedule(Charge, orders[1], name="subscriptions", cron="0 9 1 * *", timezone="Europe/Berlin")


async def feed(queue: Queue) -> None:
    """Orders as they come, so that there is a line to draw."""
    for beat in range(FED_SECONDS):
        orders = [
            {"order": 1000 + beat * 9 + number, "customer": CUSTOMERS[(beat + number) % 8], "card": "4111 1111"}
            for number in range(3 + beat % 7)
        ]
        await queue.register(Charge, *orders)
        await queue.register(Mail, *[{"order": 10 * beat + 1, "to": CUSTOMERS[beat % 8]}])
        await asyncio.sleep(1)


def started(module: str, *words: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", module, *words], cwd=ROOT, env={**os.environ, **environment})


def sharded_queue(*words: str, **environment: str) -> subprocess.Popen[bytes]:
    return started("sharded_queue", *words, **environment)


def console(port: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sharded_queue", "web", "--port", str(port), "--module", MODULE, "--allow-actions"]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stderr=subprocess.PIPE)


def link_of(console: subprocess.Popen[bytes]) -> str:
    """The link that a console prints at its start; it prints little afterwards."""
    assert console.stderr
    return next(line for line in console.stderr if b"?token=" in line).decode().strip()


async def open_link(browser: Browser, link: str) -> StorageState:
    """The cookies of a browser that opened it."""
    context = await browser.new_context()
    await (await context.new_page()).goto(link)
    return await context.storage_state()


async def photograph(browser: Browser, address: str, pages: Mapping[str, str], cookies: StorageState | None) -> None:
    for look, (scheme, width, height) in LOOKS.items():
        options: Any = {"color_scheme": scheme, "viewport": {"width": width, "height": height}}
        context = await browser.new_context(storage_state=cookies, **options)
        page = await context.new_page()
        for name, path in pages.items():
            await page.goto(f"{address}{path}")
            await expect(page.locator("#link")).to_have_text("live", timeout=30_000)
            if name == "thread":
                await page.wait_for_selector(".requests pre")
            await page.screenshot(path=FOLDER / f"{name}-{look}.png")
        await context.close()


async def photograph_questions(browser: Browser, address: str, cookies: StorageState) -> None:
    context = await browser.new_context(storage_state=cookies, viewport={"width": 800, "height": 460})
    page = await context.new_page()
    for name, path in QUESTIONS.items():
        await page.goto(f"{address}{path}")
        await expect(page.locator("form button").first).to_be_visible()
        await page.screenshot(path=FOLDER / f"{name}-question.png")
    await context.close()


async def show(server: RedisServer) -> None:
    port, cluster_port = free_port(), free_port()
    here = {"QUEUE_REDIS_ADDRESS": server.address, "QUEUE_METRICS_PORT": "0", "QUEUE_WORKER_CONCURRENCY": "4"}
    async with Redis(port=server.port) as redis:
        queue = Queue(RedisStorage(redis))
        await fill(queue)
        processes = [console(port, here)]
        processes.append(started("tools.screenshots.cluster", str(cluster_port), **here))
        processes += [sharded_queue("worker", MODULE, QUEUE_WORKER_NAME=f"worker-{name}", **here) for name in "ab"]
        try:
            await feed(queue)
            async with async_playwright() as playwright:
                program = shutil.which("chromium") or shutil.which("google-chrome")
                browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
                cookies = await open_link(browser, link_of(processes[0]))
                await photograph(browser, f"http://127.0.0.1:{port}/", PAGES, cookies)
                await photograph_questions(browser, f"http://127.0.0.1:{port}/", cookies)
                await photograph(browser, f"http://127.0.0.1:{cluster_port}/", CLUSTER_PAGES, None)
                await browser.close()
        finally:
            for process in processes:
                process.send_signal(signal.SIGKILL)
                process.wait()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder)).start()
        try:
            asyncio.run(show(server))
        finally:
            server.kill()
    print(f"written: {FOLDER.relative_to(ROOT)}/ ({len(PAGES | CLUSTER_PAGES) * len(LOOKS) + len(QUESTIONS)} pictures)")


if __name__ == "__main__":
    main()
