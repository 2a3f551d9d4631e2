"""
`/livez`, `/readyz` and `/metrics` over HTTP, the same for a worker and for the operator.

By hand, as three pages ask for little: a web framework would be a third of what a worker imports before it can begin.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import NamedTuple

from sharded_queue.errors import ShardedQueueError

log = logging.getLogger("sharded_queue")

LONGEST_SECONDS = 10.0
"""For a request to come, and for its answer to be taken."""

TEXT = "text/plain; charset=utf-8"
HEAD_END = b"\r\n\r\n"

Check = Callable[[], Awaitable[str]]
"""What is wrong, in a sentence; empty when nothing is."""


class Answer(NamedTuple):
    status: HTTPStatus
    body: bytes
    content_type: str = TEXT

    @property
    def head(self) -> bytes:
        lines = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Connection: close",
        )
        return "\r\n".join(lines).encode() + HEAD_END


Page = Callable[[], Awaitable[Answer]]


@asynccontextmanager
async def served(
    port: int,
    *,
    setting: str,
    livez: Check,
    readyz: Check,
    metrics: Callable[[], Awaitable[bytes]],
    content_type: str,
) -> AsyncIterator[int]:
    """
    Serve while the body runs; gives the port, which matters when 0 was asked for. *setting* is what the port is called.

    Raises:
        ShardedQueueError: the port cannot be had.
    """

    async def measured() -> Answer:
        return Answer(HTTPStatus.OK, await metrics(), content_type)

    site = Site({"/livez": page(livez), "/readyz": page(readyz), "/metrics": measured})
    server = await asyncio.start_server(site.serve, sock=listener(port, setting))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await site.close()


def listener(port: int, setting: str) -> socket.socket:
    """One socket for IPv4 and IPv6: two would get two different ports where a free one was asked for."""
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise ShardedQueueError(
            f"{setting} = {port} cannot be served: {error.strerror}; 0 picks a free port"
        ) from error


def page(check: Check) -> Page:
    async def answered() -> Answer:
        complaint = await check()
        status = HTTPStatus.SERVICE_UNAVAILABLE if complaint else HTTPStatus.OK
        return Answer(status, (complaint or "ok").encode())

    return answered


class Site:
    """A request a connection: who asks here, asks seldom."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self.pages = pages
        self.connections: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self.converse(reader, writer))
        self.connections.add(connection)
        connection.add_done_callback(self.connections.discard)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Whoever sends no request in time, or none at all, or goes away, gets no answer."""
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(LONGEST_SECONDS):
                    asked = await reader.readuntil(HEAD_END)
                method, path = words(asked)
                answer = await self.answer(method, path)
                writer.write(answer.head if method == "HEAD" else answer.head + answer.body)
                writer.close()
                async with asyncio.timeout(LONGEST_SECONDS):
                    await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def answer(self, method: str, path: str) -> Answer:
        if path not in self.pages:
            return Answer(HTTPStatus.NOT_FOUND, f"there are {', '.join(self.pages)}".encode())
        if method not in {"GET", "HEAD"}:
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"GET it")
        try:
            return await self.pages[path]()
        except Exception:
            log.exception("%s could not be answered", path)
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"see the log")

    async def close(self) -> None:
        """What is being answered is given up."""
        for connection in self.connections:
            connection.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)


def words(asked: bytes) -> tuple[str, str]:
    """The method and the path of a request, its query aside."""
    method, _, rest = asked.decode("latin-1").partition(" ")
    return method, rest.partition(" ")[0].partition("?")[0]
