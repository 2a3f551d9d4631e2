"""What is answered over HTTP to those who ask as they should, and to those who do not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from sharded_queue import probes
from sharded_queue.errors import ShardedQueueError

SECONDS = 10


async def nothing() -> str:
    return ""


async def measured() -> bytes:
    return b"up 1\n"


async def broken() -> bytes:
    raise ValueError("out of order")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with probes.served(
        0, setting="PORT", livez=nothing, readyz=nothing, metrics=measured, content_type="text/x"
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

    assert answer == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nup 1\n"
    )


async def test_a_head_is_an_answer_without_its_body(port: int) -> None:
    answer = await answered(port, b"HEAD /livez HTTP/1.1\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 2\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"GET /other HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET\r\n\r\n", b"404 Not Found"),
        (b"\xff\xfe \x00\r\n\r\n", b"404 Not Found"),
        (b"POST /livez HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
    ],
)
async def test_what_is_not_there_is_told(port: int, asked: bytes, status: bytes) -> None:
    assert (await answered(port, asked)).startswith(b"HTTP/1.1 " + status)


async def test_whoever_goes_on_for_too_long_gets_no_answer(port: int) -> None:
    assert await answered(port, b"GET /livez HTTP/1.1\r\n" + b"Header: value\r\n" * 10_000) == b""


async def test_whoever_asks_nothing_is_left_alone_after_a_while(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "LONGEST_SECONDS", 0.05)

    assert await answered(port, b"GET /livez HTTP/1.1\r\n") == b""


async def test_a_page_that_breaks_is_told_and_the_others_stay() -> None:
    async with probes.served(
        0, setting="PORT", livez=nothing, readyz=nothing, metrics=broken, content_type="text/x"
    ) as port:
        assert (await answered(port, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 500 ")
        assert (await answered(port, b"GET /livez HTTP/1.1\r\n\r\n")).endswith(b"ok")


async def test_an_open_connection_does_not_hold_up_the_end() -> None:
    async with asyncio.timeout(SECONDS):
        async with probes.served(
            0, setting="PORT", livez=nothing, readyz=nothing, metrics=measured, content_type="text/x"
        ) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /livez")
            assert await answered(port, b"GET /livez HTTP/1.1\r\n\r\n")  # so that the one before was accepted

        assert await rest(reader, writer) == b""


async def test_a_port_that_is_taken_is_named(port: int) -> None:
    with pytest.raises(ShardedQueueError, match=f"PORT = {port} cannot be served: .*; 0 picks a free port"):
        async with probes.served(
            port, setting="PORT", livez=nothing, readyz=nothing, metrics=measured, content_type="text/x"
        ):
            pass
