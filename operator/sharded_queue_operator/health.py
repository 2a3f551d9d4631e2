"""
What the operator says over HTTP about itself: metrics, whether it lives, whether it serves.

`/livez` is tied to the work: it fails when no resource was looked at and no list was read for too long.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sharded_queue_operator import metrics

Check = Callable[[], str]
"""What is wrong, in a sentence; empty when nothing is."""


@asynccontextmanager
async def served(port: int, *, livez: Check, readyz: Check) -> AsyncIterator[int]:
    """Serve while the body runs; gives the port, which matters when 0 was asked for."""
    app = web.Application()
    app.add_routes(
        [web.get("/livez", answer(livez)), web.get("/readyz", answer(readyz)), web.get("/metrics", measured)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def answer(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answered(_: web.Request) -> web.Response:
        complaint = check()
        return web.Response(text=complaint or "ok", status=503 if complaint else 200)

    return answered


async def measured(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
