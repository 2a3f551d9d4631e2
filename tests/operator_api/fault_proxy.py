"""The API server behind a door that says no now and then: every call of the operator and each of its watches."""

import asyncio
import json
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import yaml
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

Answer = web.StreamResponse
Fault = Callable[[web.Request], Awaitable[Answer]]
Choose = Callable[[web.Request], Fault | None]
"""What to do to a request; None lets it through."""

OWN_HEADERS = ("Content-Type", "Accept")


def is_watch(request: web.Request) -> bool:
    return request.query.get("watch") == "true"


def refusing(status: int) -> Fault:
    """Answer with *status*, as the API server words it."""

    async def refused(request: web.Request) -> Answer:
        told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": "injected"}
        headers = {"Retry-After": "1"} if status == 429 else {}
        return web.json_response(told, status=status, headers=headers)

    return refused


async def hanging(request: web.Request) -> Answer:
    """Say nothing until the client has had enough."""
    await asyncio.Event().wait()
    raise AssertionError("the client never gave up")


def erring(code: int) -> Fault:
    """A watch that begins and then tells an error: 410 when the server has forgotten the version it was asked for."""

    async def erred(request: web.Request) -> Answer:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        error = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "injected"}
        await answer.write(json.dumps({"type": "ERROR", "object": error}).encode() + b"\n")
        return answer

    return erred


async def silent(request: web.Request) -> Answer:
    """A watch that is open and tells nothing."""
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    await asyncio.Event().wait()
    return answer


class AbruptConnector(TCPConnector):
    """
    Ends all its connections when it is closed. TLS says goodbye on those of watches that were left, and would wait for
    an answer beyond the end of the event loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self.transports: WeakSet[asyncio.Transport] = WeakSet()

    async def connect(self, *arguments: Any, **keywords: Any) -> Any:
        connection = await super().connect(*arguments, **keywords)
        self.transports.add(connection.transport)
        return connection

    async def close(self, **keywords: Any) -> None:
        await super().close(**keywords)
        for transport in self.transports:
            transport.abort()


class Door:
    """A plain HTTP server on the loopback, in an OS thread of its own; *choose* may be changed at any time."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        (cluster,), (user,) = config["clusters"], config["users"]
        self.server = cluster["cluster"]["server"]
        self.headers = {"Authorization": f"Bearer {user['user']['token']}"}
        self.trust = ssl.create_default_context(cafile=cluster["cluster"]["certificate-authority"])
        self.choose: Choose = lambda request: None
        self.faults: Counter[str] = Counter()
        self.kubeconfig = folder / "door.yaml"
        self.ready = threading.Event()
        self.os_thread = threading.Thread(target=lambda: asyncio.run(self.serve()))

    def __enter__(self) -> "Door":
        self.os_thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.os_thread.join(10)

    async def serve(self) -> None:
        self.loop, self.stopped = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**22)
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        session = ClientSession(connector=AbruptConnector(), timeout=ClientTimeout(None), auto_decompress=False)
        async with session as self.session:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.introduce(runner.addresses[0][1])
            await self.stopped.wait()
            await runner.cleanup()

    def introduce(self, port: int) -> None:
        part = {"name": "door"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "door",
            "clusters": [part | {"cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [part | {"user": {"token": "any"}}],
            "contexts": [part | {"context": {"cluster": "door", "user": "door"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self.ready.set()

    async def answer(self, request: web.Request) -> Answer:
        if fault := self.choose(request):
            self.faults["watch" if is_watch(request) else request.method] += 1
            return await fault(request)
        return await self.passed(request)

    async def passed(self, request: web.Request) -> Answer:
        headers = self.headers | {name: request.headers[name] for name in OWN_HEADERS if name in request.headers}
        body, url = await request.read() or None, self.server + request.raw_path
        async with self.session.request(request.method, url, headers=headers, data=body, ssl=self.trust) as theirs:
            ours = web.StreamResponse(status=theirs.status, headers={"Content-Type": theirs.headers["Content-Type"]})
            await ours.prepare(request)
            async for chunk in theirs.content.iter_any():
                await ours.write(chunk)
            return ours
