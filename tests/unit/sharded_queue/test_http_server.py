"""What is answered over HTTP to those who ask as they should, and to those who do not."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from http import HTTPStatus

import pytest

from sharded_queue.errors import ShardedQueueError
from sharded_queue.monitoring import http_server

SECONDS = 10


async def nothing() -> str:
    return ""


async def complaint() -> str:
    return "Redis does not answer"


async def measured() -> bytes:
    return b"up 1\n"


async def broken() -> bytes:
    raise ValueError("out of order")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with http_server.serving(
        0, setting="PORT", livez=nothing, readyz=complaint, metrics=measured, content_type="text/x"
    ) as port:
        yield port


async def answered(port: int, asked: bytes, host: str = "127.0.0.1") -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(asked)
    return await rest(reader, writer)


async def rest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """All that comes until the connection ends, however it ends."""
    answer = b""
    with suppress(ConnectionError):
        async with asyncio.timeout(SECONDS):
            answer = await reader.read()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return answer


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_page_comes_with_its_length_and_kind_and_ends_the_connection(port: int, host: str) -> None:
    answer = await answered(port, b"GET /metrics?name=up HTTP/1.1\r\nHost: worker\r\nAccept: */*\r\n\r\n", host)
    head, _, body = answer.partition(b"\r\n\r\n")

    assert head.split(b"\r\n")[0].endswith(b" 200 OK")
    assert {b"Content-Type: text/x", b"Content-Length: 5"} <= set(head.split(b"\r\n"))
    assert body == b"up 1\n"


async def test_a_complaint_is_told_with_a_status_that_a_probe_understands(port: int) -> None:
    answer = await answered(port, b"GET /readyz HTTP/1.1\r\nHost: worker\r\n\r\n")

    assert b" 503 Service Unavailable\r\n" in answer
    assert answer.endswith(b"\r\n\r\nRedis does not answer")


async def test_a_head_is_an_answer_without_its_body(port: int) -> None:
    answer = await answered(port, b"HEAD /livez HTTP/1.1\r\nHost: worker\r\n\r\n")

    assert b" 200 OK\r\n" in answer
    assert b"Content-Length: 2\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"GET /other HTTP/1.1\r\nHost: worker\r\n\r\n", b" 404 not found"),
        (b"POST /livez HTTP/1.1\r\nHost: worker\r\n\r\n", b" 405 method not allowed"),
        (b"\xff\xfe \x00\r\n\r\n", b" 400 bad request"),
        (
            b"GET /livez HTTP/1.1\r\nHost: worker\r\nHeader: " + b"x" * http_server.HEAD_BYTES,
            b" 431 request header fields too large",
        ),
    ],
)
async def test_what_cannot_be_answered_is_told(port: int, asked: bytes, status: bytes) -> None:
    assert status in (await answered(port, asked)).lower()


async def test_whoever_asks_nothing_is_left_alone_after_a_while(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.05)

    assert await answered(port, b"GET /livez HTTP/1.1\r\n") == b""


async def test_a_head_that_drips_has_no_more_time_than_one_that_does_not_come(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ended = asyncio.create_task(rest(reader, writer))

    async with asyncio.timeout(SECONDS):
        while not ended.done():
            writer.write(b"G")
            await asyncio.wait([ended], timeout=0.05)

    assert await ended == b""


async def test_who_asks_at_once_is_answered_while_all_connections_are_in_use(port: int) -> None:
    drips = [await asyncio.open_connection("127.0.0.1", port) for _ in range(http_server.CONNECTIONS)]
    for _, writer in drips:
        writer.write(b"GET /livez")

    assert (await answered(port, b"GET /livez HTTP/1.1\r\nHost: worker\r\n\r\n")).endswith(b"ok")
    first, *others = drips
    assert await rest(*first) == b"", "the connection that waited longest made room"
    for reader, writer in others:
        writer.write(b" HTTP/1.1\r\nHost: worker\r\n\r\n")
        assert (await rest(reader, writer)).endswith(b"ok")


async def test_an_answer_that_is_being_found_keeps_its_connection_when_others_crowd_in() -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        asked.set()
        await may_answer.wait()
        return ""

    async with http_server.serving(
        0, setting="PORT", livez=slow, readyz=nothing, metrics=measured, content_type="text/x"
    ) as port:
        answer = asyncio.create_task(answered(port, b"GET /livez HTTP/1.1\r\nHost: worker\r\n\r\n"))
        await asked.wait()
        drips = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * http_server.CONNECTIONS)]
        await accepted(port, b"/readyz")
        may_answer.set()

        assert (await answer).endswith(b"ok")
        for _, writer in drips:
            writer.transport.abort()


async def test_those_who_ask_within_a_second_share_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    readings, may_end = 0, asyncio.Event()

    async def counted() -> bytes:
        nonlocal readings
        readings += 1
        await may_end.wait()
        return f"reading {readings}".encode()

    monkeypatch.setattr(http_server, "SHARED_SECONDS", float("inf"))
    async with http_server.serving(
        0, setting="PORT", livez=nothing, readyz=nothing, metrics=counted, content_type="text/x"
    ) as port:
        scrape = b"GET /metrics HTTP/1.1\r\nHost: worker\r\n\r\n"
        scrapes = [asyncio.create_task(answered(port, scrape)) for _ in range(20)]
        await accepted(port)
        may_end.set()
        answers = [*await asyncio.gather(*scrapes), await answered(port, scrape)]

    assert [answer.endswith(b"reading 1") for answer in answers] == [True] * 21


class Steady:
    """Numbers its readings, and has a clock that the test sets."""

    def __init__(self) -> None:
        self.now, self.readings = 100.0, 0
        self.page = http_server.Shared(self.read, lambda: self.now)

    async def read(self) -> http_server.Answer:
        self.readings += 1
        return http_server.Answer(HTTPStatus.OK, str(self.readings).encode())

    async def at(self, now: float) -> int:
        self.now = now
        return int((await self.page()).body)


async def test_a_scrape_each_second_gets_a_reading_of_its_own_where_the_one_before_came_late() -> None:
    """A busy machine delivers it late; what the next one shared with it would be half a second old."""
    page = Steady()

    assert [await page.at(now) for now in (100, 101.55, 102, 103.6, 104, 105)] == [1, 2, 3, 4, 5, 6]


async def test_however_many_ask_two_readings_a_second_are_made() -> None:
    page = Steady()
    for now in range(1000):
        await page.at(100 + now / 100)

    assert page.readings == 2 * 10 + 1


async def test_no_answer_names_what_serves_it(port: int) -> None:
    assert b"server:" not in (await answered(port, b"GET /livez HTTP/1.1\r\nHost: worker\r\n\r\n")).lower()


async def test_who_closes_its_side_after_asking_is_answered(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: worker\r\n\r\n")
    writer.write_eof()

    assert (await rest(reader, writer)).endswith(b"up 1\n")


async def test_whoever_goes_away_leaves_no_trace(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.transport.abort()

    assert (await answered(port, b"GET /livez HTTP/1.1\r\nHost: worker\r\n\r\n")).endswith(b"ok")
    assert capfd.readouterr() == ("", "")


async def test_a_page_that_breaks_is_told_and_the_others_stay(caplog: pytest.LogCaptureFixture) -> None:
    async with http_server.serving(
        0, setting="PORT", livez=nothing, readyz=nothing, metrics=broken, content_type="text/x"
    ) as port:
        assert b" 500 Internal Server Error" in await answered(port, b"GET /metrics HTTP/1.1\r\nHost: worker\r\n\r\n")
        assert (await answered(port, b"GET /livez HTTP/1.1\r\nHost: worker\r\n\r\n")).endswith(b"ok")
    assert [(each.levelno, each.getMessage()) for each in caplog.records] == [(logging.ERROR, "/metrics failed")]


async def test_a_page_that_takes_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        return ""

    monkeypatch.setattr(http_server, "ANSWER_SECONDS", 0.05)
    given_up = asyncio.Event()
    async with http_server.serving(
        0, setting="PORT", livez=never, readyz=nothing, metrics=measured, content_type="text/x"
    ) as port:
        answer = await answered(port, b"GET /livez HTTP/1.1\r\nHost: worker\r\n\r\n")
        async with asyncio.timeout(SECONDS):
            await given_up.wait()

    assert b" 503 Service Unavailable\r\n" in answer
    assert answer.endswith(b"no answer in 0.05 s")


async def test_an_open_connection_does_not_hold_up_the_end() -> None:
    async with asyncio.timeout(SECONDS):
        async with http_server.serving(
            0, setting="PORT", livez=nothing, readyz=nothing, metrics=measured, content_type="text/x"
        ) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /livez")
            await accepted(port)
    writer.close()


async def accepted(port: int, path: bytes = b"/livez") -> None:
    """Connections that were made before have been accepted: the server accepts them one after another."""
    assert await answered(port, b"GET " + path + b" HTTP/1.1\r\nHost: worker\r\n\r\n")


async def test_a_port_that_is_taken_is_named(port: int) -> None:
    with pytest.raises(ShardedQueueError, match=f"PORT = {port} cannot be served: .*; 0 picks a free port"):
        async with http_server.serving(
            port, setting="PORT", livez=nothing, readyz=nothing, metrics=measured, content_type="text/x"
        ):
            pass
