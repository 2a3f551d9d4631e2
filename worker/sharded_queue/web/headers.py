"""What every answer says to a browser, and which addresses the console answers to."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere, no frame: what a hostile name smuggles into a page does not run."""

ALWAYS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}

PROBE = "/livez"
"""For the kubelet, which knows no name of the console and no person."""

METRICS = "/metrics"
"""For Prometheus: numbers alone."""

OPEN_PATHS = (PROBE, METRICS)

LIVE = "/live"
"""The events of a page that is open."""

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Guarded:
    """
    Adds the headers, and refuses names of hosts that are not the console's: a page of another site that resolves its
    own name to this machine (DNS rebinding) reads nothing. Nor has another site's page anything read or counted here
    behind the back of a person who looks at it: a link that the person follows is all that it may have.
    """

    def __init__(self, app: Application, hosts: Sequence[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not self._is_ours(scope):
            answer = PlainTextResponse(
                "This console answers to other host names only: start it with --host-name NAME for this one.\n", 421
            )
            await answer(scope, receive, send)
            return
        if is_of_another_site(Headers(scope=scope)):
            await PlainTextResponse("This console answers to its own pages only.\n", 403)(scope, receive, send)
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, with_headers)

    def _is_ours(self, scope: Scope) -> bool:
        is_open = not self.hosts or scope["path"] in OPEN_PATHS
        return is_open or host_of(Headers(scope=scope).get("host", "")) in self.hosts


def is_of_another_site(headers: Headers) -> bool:
    """Whether a browser asks for a page of another site, and not because a person went to this address."""
    is_followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_followed


def client_address(request: Request) -> str:
    """Where a request comes from: what `Proxied` found, behind proxies that are trusted."""
    return request.client.host if request.client else ""


def host_of(header: str) -> str:
    """`Host` without its port."""
    name, colon, port = header.rpartition(":")
    return (name if colon and port.isdigit() else header).lower()
