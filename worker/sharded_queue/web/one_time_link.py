"""
A console that lets people act and knows nobody by name prints a link where it was started. Only who opens that link
looks and acts: all other people of the machine reach a port of the loopback, too.
"""

import hmac
import re
import secrets
from collections.abc import Callable
from time import monotonic
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from sharded_queue.web import csrf
from sharded_queue.web.headers import LIVE, OPEN_PATHS, Application, Scope, client_address
from sharded_queue.web.refusals import Refusals

LINK_SECONDS = 600
"""In which a link works."""
FIELD = "token"
CLOSED = (
    "This console lets people act, so it answers to those alone who opened its link.\n"
    f"Open the last one that it printed where it was started: a link works once, within {LINK_SECONDS // 60} minutes.\n"
)


class OneTimeLink:
    """
    Gives the session of this console to whoever has the token of its link, once. *announce* shows a token to the person
    who started the console.
    """

    def __init__(self, announce: Callable[[str], None], elapsed: Callable[[], float] = monotonic) -> None:
        self._announce, self._elapsed = announce, elapsed
        self._token, self._end = "", 0.0
        self.session = secrets.token_urlsafe(32)

    @property
    def _works(self) -> bool:
        return bool(self._token) and self._elapsed() < self._end

    def offer(self) -> None:
        """Announce a new link, unless the last one still works: so strangers cause few of them."""
        if not self._works:
            self._token, self._end = secrets.token_hex(16), self._elapsed() + LINK_SECONDS
            self._announce(self._token)

    def accept(self, token: str) -> bool:
        """Whether the token is that of a link that works, which then works no more."""
        if not (self._works and hmac.compare_digest(self._token.encode(), token.encode())):
            return False
        self._token = ""
        return True

    def is_session(self, session: str) -> bool:
        return hmac.compare_digest(self.session.encode(), session.encode())


class LinkRequired:
    """Lets those in who opened the link, where there is one."""

    def __init__(self, app: Application, link: OneTimeLink | None, refusals: Refusals) -> None:
        self.app, self.link, self.refusals = app, link, refusals

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        answer = self._answer(self.link, Request(scope)) if self.link and scope["type"] == "http" else None
        await (answer or self.app)(scope, receive, send)

    def _answer(self, link: OneTimeLink, request: Request) -> Response | None:
        """None where the application answers."""
        token = request.query_params.get(FIELD, "") if request.scope["path"] == "/" else ""
        if token and request.method == "GET" and link.accept(token):
            return signed_in(link.session, request)
        if request.scope["path"] in OPEN_PATHS or link.is_session(request.cookies.get(cookie_of(request), "")):
            return None
        return self._refuse(link, token, request)

    def _refuse(self, link: OneTimeLink, token: str, request: Request) -> Response:
        if token:
            self.refusals.refuse_sign_in("?", client_address(request), "wrong link")
        if request.scope["path"] != LIVE:  # a page that was left open asks for ever
            link.offer()
        return PlainTextResponse(CLOSED, 401)


def signed_in(session: str, request: Request) -> Response:
    """The overview, for a browser that has the session from now on: also where a link of another site leads it here."""
    answer = RedirectResponse("./", 303)
    secure = csrf.is_over_https(request)
    answer.set_cookie(cookie_of(request), session, httponly=True, samesite="lax", secure=secure)
    return answer


def cookie_of(request: Request) -> str:
    """With the port: browsers send a cookie to all ports of a host, and each console there has its own."""
    port = re.search("[0-9]*$", request.headers.get("host", ""))
    return f"{csrf.name_of(request)}-{port[0] if port else ''}"
