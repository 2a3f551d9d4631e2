"""
`/livez`, `/readyz` and `/metrics` over HTTP, the same for a worker and for the operator.

By the HTTP server of the standard library: three pages ask for no more, and a web framework would be a third of what a
worker imports before it can begin. It reads and writes in OS threads; what is answered, the event loop says.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from sharded_queue.errors import ShardedQueueError

log = logging.getLogger("sharded_queue")

LONGEST_SECONDS = 10.0
"""For a request to come, for its answer to be found, and for that to be taken."""

Check = Callable[[], Awaitable[str]]
"""What is wrong, in a sentence; empty when nothing is."""


class Answer(NamedTuple):
    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Page = Callable[[], Coroutine[Any, Any, Answer]]


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

    loop = asyncio.get_running_loop()
    site = Site({"/livez": page(livez), "/readyz": page(readyz), "/metrics": measured}, loop)
    with Server(listener(port, setting), site) as server:
        loop.add_reader(server, server.handle_request)
        try:
            yield server.server_port
        finally:
            loop.remove_reader(server)


def page(check: Check) -> Page:
    async def answered() -> Answer:
        complaint = await check()
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE if complaint else HTTPStatus.OK, (complaint or "ok").encode())

    return answered


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


class Site:
    """The WSGI application: called in the OS thread of a connection, answered by the pages in the event loop."""

    def __init__(self, pages: Mapping[str, Page], loop: asyncio.AbstractEventLoop) -> None:
        self.pages, self.loop = pages, loop

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self.answer(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        head = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
        start_response(f"{answer.status.value} {answer.status.phrase}", head)
        return [answer.body] if environ["REQUEST_METHOD"] == "GET" else []

    def answer(self, method: str, path: str) -> Answer:
        if path not in self.pages:
            return Answer(HTTPStatus.NOT_FOUND, f"{path} is none of {', '.join(self.pages)}".encode())
        if method not in ("GET", "HEAD"):
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"GET it")
        try:
            return self.ask(self.pages[path]())
        except (TimeoutError, CancelledError):
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"the event loop is held up, or about to end")
        except Exception as error:
            log.exception("%s cannot be told", path)
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, repr(error).encode())

    def ask(self, question: Coroutine[Any, Any, Answer]) -> Answer:
        """
        Raises:
            TimeoutError, CancelledError: there was no answer in time, or the event loop has ended.
        """
        try:
            asking = asyncio.run_coroutine_threadsafe(question, self.loop)
        except RuntimeError as ended:
            question.close()
            raise CancelledError from ended
        try:
            return asking.result(LONGEST_SECONDS)
        finally:
            asking.cancel()


class Server(ThreadingMixIn, WSGIServer):
    """Accepts in the event loop and serves each connection in an OS thread, which nobody waits for in the end."""

    daemon_threads = True
    timeout = 0

    def __init__(self, listening: socket.socket, site: Site) -> None:
        super().__init__(listening.getsockname()[:2], Connection, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = "", listening.getsockname()[1]
        self.setup_environ()
        self.set_app(site)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever goes away before the answer is no concern of ours."""
        log.debug("no answer to %s", client_address, exc_info=True)


class Connection(WSGIRequestHandler):
    """A request each: who asks here, asks seldom."""

    timeout = LONGEST_SECONDS

    def log_message(self, *_: object) -> None:
        """A line for each probe would drown all others."""
