"""The browser of the tests sees what must not happen on a page."""

import asyncio
from pathlib import Path

from playwright.async_api import ViewportSize

from tests.harness.browser import NARROW, Watched, opened_browser, overflow

BROKEN = {
    "console: broken": "<script>console.error('broken')</script>",
    "script: broken": "<script>throw 'broken'</script>",
    "foreign: http://example.invalid/font.css": "<link rel=stylesheet href=http://example.invalid/font.css>",
    "failed: file://": "<img src=missing.png>",
}


async def test_a_fault_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    async with opened_browser() as browser:
        for fault, html in BROKEN.items():
            file.write_text(html)
            page = await browser.new_page()
            watched = Watched(page)
            await page.goto(file.as_uri())
            await page.close()
            assert [each for each in watched.faults if each.startswith(fault)], fault


async def test_a_file_on_its_way_when_the_page_is_left_is_no_fault() -> None:
    asked = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if b" /never.png " in request:
            asked.set()
            await reader.read()
        else:
            html = b"<link rel=icon href=data:,><img src=/never.png>"
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\n\r\n" + html)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, opened_browser() as browser:
        page = await browser.new_page()
        watched = Watched(page)
        async with page.expect_event("requestfailed", lambda request: request.url.endswith("/never.png")):
            await page.goto(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", wait_until="domcontentloaded")
            await asked.wait()
            await page.goto("about:blank")

        assert watched.faults == []


async def test_what_is_too_wide_is_named(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("<div class=wide style='width: 500px'>wide</div>")
    async with opened_browser() as browser:
        page = await browser.new_page(viewport=ViewportSize(width=NARROW, height=700))
        await page.goto(file.as_uri())

        assert await overflow(page) == ["div.wide"]
