"""No other site acts in the name of somebody who looks at the console."""

import hmac
import secrets
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "sharded-queue-console"
HOST_COOKIE = f"__Host-{COOKIE}"
"""Browsers take a cookie of such a name over TLS and from this host alone: no neighbour in its domain can set it."""
FIELD = "token"
FORM_BYTES = 256 * 1024
"""Of the largest form: 2,000 requests that are ticked."""


class Refused(Exception):
    """An action that did not come from a page of this console."""


class Tokens:
    """A form carries a token that only a page of this console can know: a keyed hash of a cookie and of the person."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def issue(self, request: Request, person: str) -> tuple[str, str]:
        """The session of a browser, a new one if it has none, and the token of its forms."""
        session = request.cookies.get(name_of(request)) or secrets.token_urlsafe(32)
        return session, self._token(session, person)

    def _token(self, session: str, person: str) -> str:
        return hmac.digest(self._key, f"{session}\0{person}".encode(), "sha256").hex()

    def check(self, request: Request, token: str, person: str) -> None:
        """
        Raises:
            Refused: the form is of another person, or of an earlier start of the console.
        """
        session = request.cookies.get(name_of(request), "")
        if not session or not hmac.compare_digest(self._token(session, person).encode(), token.encode()):
            raise Refused("This form is too old, and nothing was done: go back, reload the page, and confirm again.")


def check_origin(request: Request) -> None:
    """
    Raises:
        Refused: the form is of another site, or larger than any of ours. Nothing of it has been read.
    """
    if not is_same_origin(request):
        raise Refused("This action came from another site, and was not carried out.")
    length = request.headers.get("content-length", "")
    if not length.isdigit() or len(length) > 9 or int(length) > FORM_BYTES:
        raise Refused(f"A form says how long it is, and has {FORM_BYTES:,} bytes at most.")


def is_same_origin(request: Request) -> bool:
    origin = request.headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc == request.headers.get("host")
    return request.headers.get("sec-fetch-site") == "same-origin"


def remember(response: Response, session: str, request: Request) -> None:
    response.set_cookie(name_of(request), session, httponly=True, samesite="strict", secure=is_over_https(request))


def name_of(request: Request) -> str:
    return HOST_COOKIE if is_over_https(request) else COOKIE


def is_over_https(request: Request) -> bool:
    return request.url.scheme == "https"
