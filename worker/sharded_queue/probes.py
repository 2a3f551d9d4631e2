"""`/livez`, `/readyz` and `/metrics` over HTTP, the same for a worker and for the operator."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from sharded_queue.errors import ShardedQueueError

Check = Callable[[], Awaitable[str]]
"""What is wrong, in a sentence; empty when nothing is."""


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

    async def measured(_: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": content_type})

    app = web.Application()
    app.add_routes(
        [web.get("/livez", answer(livez)), web.get("/readyz", answer(readyz)), web.get("/metrics", measured)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await started(runner, port, setting)
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def started(runner: web.AppRunner, port: int, setting: str) -> None:
    try:
        await web.SockSite(runner, listener(port)).start()
    except OSError as error:
        raise ShardedQueueError(
            f"{setting} = {port} cannot be served: {error.strerror}; 0 picks a free port"
        ) from error


def listener(port: int) -> socket.socket:
    """One socket for IPv4 and IPv6: two would get two different ports where a free one was asked for."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def answer(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answered(_: web.Request) -> web.Response:
        complaint = await check()
        return web.Response(text=complaint or "ok", status=503 if complaint else 200)

    return answered
