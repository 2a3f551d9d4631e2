"""
`/livez`, `/readyz` and `/metrics` over HTTP, the same for a worker and for the operator.

The port is open to everything that reaches the pod, so each resource that a client can use up has a bound: the bytes
of a request's head, the seconds until the head is complete, the seconds until the answer is read, and the connections.
A client that sends its head at once gets its answer, however many others send theirs byte by byte: when all connections
are in use, the one that has waited longest for its head is closed. Redis is read at most twice a second, however many
clients ask. h11 is imported with the first client: a worker starts while its first request waits.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from sharded_queue.errors import ShardedQueueError
from sharded_queue.monitoring.bounds import (
    ACCEPTED_AT_ONCE,
    ANSWER_SECONDS,
    HEAD_BYTES,
    HEAD_SECONDS,
    KERNEL_QUEUE,
    Connections,
)

if TYPE_CHECKING:
    import h11

log = logging.getLogger("sharded_queue")

CONNECTIONS = 64
"""Open connections. Each holds one file descriptor and at most one head and one answer."""
SHARED_SECONDS, READINGS_AT_ONCE = 0.5, 2
"""
However many clients ask, Redis is read once in this time on average; all others share the last answer. Two readings may
follow each other at once: a Prometheus that scrapes each second gets an answer of its own even if the one before came
late.
"""

Check = Callable[[], Awaitable[str]]
"""Returns what is wrong, in a sentence; an empty text means that nothing is."""


class Answer(NamedTuple):
    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Page = Callable[[], Awaitable[Answer]]


@asynccontextmanager
async def serving(
    port: int,
    *,
    setting: str,
    livez: Check,
    readyz: Check,
    metrics: Callable[[], Awaitable[bytes]],
    content_type: str,
) -> AsyncIterator[int]:
    """
    Serve while the body runs; yields the port, which matters when 0 was asked for. *setting* names the port in errors.

    Raises:
        ShardedQueueError: the port cannot be opened.
    """

    async def measured() -> Answer:
        return Answer(HTTPStatus.OK, await metrics(), content_type)

    shared = {"/readyz": Shared(page(readyz)), "/metrics": Shared(measured)}
    site = Site({"/livez": page(livez), **shared})
    listening = listener(port, setting)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(site), sock=listening, backlog=ACCEPTED_AT_ONCE)
    listening.listen(KERNEL_QUEUE)  # asyncio has one number for both
    try:
        yield listening.getsockname()[1]
    finally:
        server.close()
        site.connections.close()
        for each in shared.values():
            each.cancel()


def page(check: Check) -> Page:
    async def answered() -> Answer:
        complaint = await check()
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE if complaint else HTTPStatus.OK, (complaint or "ok").encode())

    return answered


def listener(port: int, setting: str) -> socket.socket:
    """One socket for IPv4 and IPv6: with port 0, two sockets would get two different ports."""
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise ShardedQueueError(
            f"{setting} = {port} cannot be served: {error.strerror}; 0 picks a free port"
        ) from error


class Shared:
    """A page whose answer many clients share: it is computed once in `SHARED_SECONDS` on average."""

    def __init__(self, page: Page, clock: Callable[[], float] = monotonic) -> None:
        self._page, self._clock = page, clock
        self._finding: asyncio.Future[Answer] | None = None
        self._paid_until = -inf
        """The readings so far fill the time until then."""

    async def __call__(self) -> Answer:
        if self._finding is None or (self._finding.done() and self._may_read()):
            now = self._clock()
            self._paid_until = max(self._paid_until, now - READINGS_AT_ONCE * SHARED_SECONDS) + SHARED_SECONDS
            self._finding = asyncio.ensure_future(self._page())
        return await asyncio.shield(self._finding)

    def _may_read(self) -> bool:
        return self._paid_until + SHARED_SECONDS <= self._clock()

    def cancel(self) -> None:
        if self._finding:
            self._finding.cancel()


class Site:
    """The pages, and the connections of the clients that ask for them."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self.pages = pages
        self.connections: Connections[Connection] = Connections(CONNECTIONS)

    async def answer(self, method: bytes, target: bytes) -> Answer:
        path, _, _ = target.decode("latin-1").partition("?")
        if path not in self.pages:
            return Answer(HTTPStatus.NOT_FOUND, f"here are {', '.join(self.pages)}".encode())
        if method not in (b"GET", b"HEAD"):
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"use GET")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self.pages[path]()
        except TimeoutError:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"no answer in {ANSWER_SECONDS:g} s".encode())
        except Exception:
            log.exception("%s failed", path)
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"this page failed; the log has the error")


class Connection(asyncio.Protocol):
    """One request and its answer; then the connection ends, since probes and scrapes are seconds apart."""

    transport: asyncio.Transport

    def __init__(self, site: Site) -> None:
        self.site = site
        self.since = monotonic()
        self.has_asked = False
        import h11  # noqa: PLC0415 - with the first client

        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._answering: asyncio.Task[None] | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.site.connections.admit(self)
        self._end_within(HEAD_SECONDS)

    def connection_lost(self, error: Exception | None) -> None:
        self.site.connections.forget(self)
        for each in (self._end, self._answering):
            if each:
                each.cancel()

    def data_received(self, data: bytes) -> None:
        import h11  # noqa: PLC0415 - is imported by now

        if self.has_asked:
            return
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._send(Answer(HTTPStatus(error.error_status_hint), str(error).encode()), is_head=False)
            return
        if isinstance(event, h11.Request):
            self.has_asked = True
            self._answering = asyncio.get_running_loop().create_task(self._answer(event))

    def eof_received(self) -> bool:
        """A client that has asked may close its side and still read the answer."""
        return self.has_asked

    @property
    def rank(self) -> int:
        return int(self.has_asked)

    def abort(self) -> None:
        self.transport.abort()

    async def _answer(self, request: "h11.Request") -> None:
        answer = await self.site.answer(request.method, request.target)
        self._send(answer, is_head=request.method == b"HEAD")

    def _send(self, answer: Answer, *, is_head: bool) -> None:
        import h11  # noqa: PLC0415 - is imported by now

        self.has_asked = True
        head = h11.Response(
            status_code=answer.status,
            reason=answer.status.phrase.encode(),
            headers=[
                ("Content-Type", answer.content_type),
                ("Content-Length", str(len(answer.body))),
                ("Connection", "close"),
            ],
        )
        self.transport.write(self._http.send(head) or b"")
        if not is_head:
            self.transport.write(answer.body)
        self.transport.close()  # after the rest is written
        self._end_within(ANSWER_SECONDS)

    def _end_within(self, seconds: float) -> None:
        if self._end:
            self._end.cancel()
        self._end = asyncio.get_running_loop().call_later(seconds, self.transport.abort)
