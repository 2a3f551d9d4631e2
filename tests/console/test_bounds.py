"""Whoever reaches the console's port uses up nothing that others need, before anybody signs in."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from sharded_queue.monitoring.bounds import LINES, LINES_OF_ALL, Connections, FewMessages
from sharded_queue.web import server as console_server
from sharded_queue.web.command import listening
from sharded_queue.web.server import server_of

SECONDS = 20
ASKED = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
FORM = b"POST /act HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Reads what is sent, and answers."""
    while scope["method"] == "POST" and (await receive()).get("more_body"):
        pass
    body = b"ok" * (scope["path"] == "/livez") or b"x" * 20_000_000
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body[:100_000], "more_body": len(body) > 100_000})
    for begin in range(100_000, len(body), 100_000):
        await send({"type": "http.response.body", "body": body[begin : begin + 100_000], "more_body": True})
    if len(body) > 100_000:
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[int, Connections[Any]]]:
    bound = listening("127.0.0.1", 0)
    server = server_of(application, lifespan="off", timeout_graceful_shutdown=1)
    server.config.load()
    task = asyncio.create_task(server._serve([bound]))
    try:
        async with asyncio.timeout(SECONDS):
            yield bound.getsockname()[1], server.config.http_protocol_class.open  # type: ignore[union-attr]
    finally:
        server.should_exit = True
        await task


async def answered(port: int, asked: bytes = ASKED) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked)
    return await rest(reader, writer)


async def drip(port: int, begun: bytes, drop: bytes) -> bytes:
    """What comes until the connection of a client ends that sends *drop* again and again after *begun*."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begun)
    ended = asyncio.create_task(rest(reader, writer))
    while not ended.done():
        writer.write(drop)
        await asyncio.wait([ended], timeout=0.1)
    return ended.result()


async def rest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """All that comes until the connection ends, however it ends."""
    answer = b""
    with suppress(ConnectionError):
        answer = await reader.read()
    writer.close()
    return answer


async def test_who_asks_at_once_is_answered_while_all_connections_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_server, "CONNECTIONS", 16)
    monkeypatch.setattr(console_server, "HEAD_SECONDS", 600.0)  # no time-out makes room
    async with serving() as (port, _):
        drips = [await asyncio.open_connection("127.0.0.1", port) for _ in range(16)]
        for _, writer in drips:
            writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 15_000)

        assert (await answered(port)).endswith(b"ok")
        first, *others = drips
        assert await rest(*first) == b"", "the connection that waited longest made room"
        for _, writer in others:
            writer.transport.abort()


@pytest.mark.parametrize("begun", [b"", b"GET /livez HTTP/1.1\r\n", ASKED.replace(b"close", b"keep-alive") + b"GET"])
async def test_head_that_drips_ends_the_connection(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_server, "HEAD_SECONDS", 1.0)
    async with serving() as (port, _):
        await drip(port, begun, b"G")


async def test_body_that_drips_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_server, "BODY_SECONDS", 0.5)
    async with serving() as (port, _):
        assert await drip(port, FORM, b"x") == b""


async def test_head_that_is_too_long_is_refused() -> None:
    async with serving() as (port, _):
        assert b" 400 " in await answered(port, b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000)


async def test_who_does_not_read_the_answer_loses_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_server, "ANSWER_SECONDS", 0.2)
    async with serving() as (port, connections):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
        writer.write(ASKED.replace(b"/livez", b"/page"))
        await answered(port)
        unread = next(iter(connections._open))
        while unread in connections._open:
            await answered(port)
        got = 0
        with suppress(ConnectionError):
            while part := await reader.read(100_000):
                got += len(part)
        writer.close()

    assert got < 20_000_000


def test_log_has_few_lines_of_a_kind() -> None:
    few = FewMessages()
    lines = [logging.makeLogRecord({"msg": "Invalid HTTP request received."}) for _ in range(1000)]

    assert sum(map(few.filter, lines)) == LINES
    assert few.filter(logging.makeLogRecord({"msg": "another"}))


def test_log_has_few_lines_of_texts_that_differ_each_time() -> None:
    few = FewMessages()
    lines = [logging.makeLogRecord({"msg": f"Exception in callback <Handle {number}>"}) for number in range(1000)]

    assert sum(map(few.filter, lines)) == LINES_OF_ALL
    assert len(few._window.counts()) <= LINES_OF_ALL + 1
