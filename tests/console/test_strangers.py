"""A page of another site, in the browser of somebody who has the console open in the next tab."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from playwright.sync_api import Page

from sharded_queue.tube import Shard
from tests.console.shop import Charge
from tests.console.stage import MODULE, Stage, Window, stored

pytestmark = pytest.mark.redis

ATTEMPTS = """
    async (console) => {
        const read = {}, paths = ["", "dead", "workers", "confirm?action=pause&handler=shop.Charge&thread=3", "livez"];
        for (const path of paths)
            for (const mode of ["cors", "no-cors"]) {
                const answer = await fetch(console + path, {mode, credentials: "include"}).catch(() => null);
                read[`${mode} ${path}`] = answer ? await answer.text() : "";
            }
        const form = new URLSearchParams({action: "pause", handler: "shop.Charge", thread: "3", token: "0"});
        for (const mode of ["cors", "no-cors"]) {
            const options = {method: "POST", body: form, mode, credentials: "include"};
            const answer = await fetch(console + "act", options).catch(() => null);
            read[`${mode} act`] = answer ? await answer.text() : "";
        }
        const loads = (kind, attribute, path) => new Promise((end) => {
            const element = document.createElement(kind);
            element.onload = () => end("loaded");
            element.onerror = () => end("");
            element[attribute] = console + path;
            document.body.append(element);
        });
        for (const [kind, path] of [["img", "static/icon.svg"], ["script", "static/live.js"]])
            read[kind] = await loads(kind, "src", path);
        const opened = open(console + "dead");
        try { read.opened = opened.document.body.innerText; } catch { read.opened = ""; }
        return read;
    }
"""
FLOOD = """
    async (console) => {
        const ends = [];
        for (let number = 0; number < 200; number++) {
            const stream = new EventSource(`${console}live?page=thread&handler=shop.Charge&thread=${number}`);
            ends.push(new Promise((end) => { stream.onopen = () => end("open"); stream.onerror = () => end(""); }));
        }
        return (await Promise.all(ends)).filter(Boolean).length;
    }
"""


class Blank(BaseHTTPRequestHandler):
    """An empty page of a site that is not the console's."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another site</title><body></body>")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def another_site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def address(stage: Stage) -> str:
    stage.register(Charge, *[{"order": number, "customer": number} for number in range(5)])
    return stage.console("--module", MODULE, "--allow-actions")


@pytest.fixture
def stranger(address: str, another_site: str, window: Callable[..., Window]) -> Page:
    """Beside a page of the console, with its cookies."""
    own = window()
    own.follow(address)
    page = own.context.new_page()
    page.goto(another_site)
    return page


def test_a_page_of_another_site_reads_and_writes_nothing(stranger: Page, address: str, stage: Stage) -> None:
    read = stranger.evaluate(ATTEMPTS, address)

    assert {name: text for name, text in read.items() if text} == {}, json.dumps(read)[:2000]
    assert not stored(stage, lambda storage: storage.paused(Shard(Charge.name)))


def test_a_page_of_another_site_opens_no_live_page(stranger: Page, address: str) -> None:
    assert stranger.evaluate(FLOOD, address) == 0
    assert httpx.get(f"{address}livez").status_code == 200


def test_a_link_of_another_site_leads_to_the_console(stranger: Page, address: str) -> None:
    stranger.evaluate("(to) => { location.href = to; }", address)
    stranger.wait_for_url(address)

    assert "shop.Charge" in stranger.locator("main").inner_text()
