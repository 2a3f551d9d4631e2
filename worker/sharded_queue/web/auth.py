"""The console shows no page before it knows which person asks, and no longer than it knows."""

import asyncio
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from sharded_queue.web.headers import LIVE, OPEN_PATHS, Application, Scope, client_address
from sharded_queue.web.people import People, Person, Unknown
from sharded_queue.web.refusals import Refusals
from sharded_queue.web.waiting_room import Busy

KNOWN_SECONDS = 5.0
"""How often a person is asked for again while a page of theirs is live: they may have been removed."""


class Authenticated:
    """Puts the person into the state of each request, or asks for one."""

    def __init__(self, app: Application, people: People, refusals: Refusals) -> None:
        self.app, self.people, self.refusals = app, people, refusals

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        try:
            person = await self._person(scope)
        except (Unknown, Busy) as error:
            await self._refuse(error, client_address(Request(scope)))(scope, receive, send)
            return
        scope.setdefault("state", {})["person"] = person
        if scope["path"] == LIVE:
            await self._follow(person, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _person(self, scope: Scope) -> Person:
        return await self.people.who(Headers(scope=scope), client_address(Request(scope)))

    async def _follow(self, person: Person, scope: Scope, receive: Any, send: Any) -> None:
        """Answer for as long as the request would still be answered to the same person with the same role."""
        answer = asyncio.ensure_future(self.app(scope, receive, send))
        try:
            while not (await asyncio.wait([answer], timeout=KNOWN_SECONDS))[0]:
                if not await self._is_still(person, scope):
                    answer.cancel()
                    await asyncio.wait([answer])
                    await send({"type": "http.response.body", "body": b""})
                    return
            answer.result()
        finally:
            answer.cancel()

    async def _is_still(self, person: Person, scope: Scope) -> bool:
        try:
            return await self._person(scope) == person
        except Busy:
            return True
        except Unknown:
            return False

    def _refuse(self, error: Unknown | Busy, address: str) -> PlainTextResponse:
        if isinstance(error, Busy):
            self.refusals.refuse_sign_in(str(error), address, "too many at once")
            return PlainTextResponse("Too many sign-ins at once: try again.\n", 429, headers={"retry-after": "2"})
        if error.name:
            self.refusals.refuse_sign_in(error.name, address, str(error))
        asks = {"www-authenticate": 'Basic realm="sharded-queue", charset="UTF-8"'} if self.people.file else {}
        return PlainTextResponse("This console does not know you, or gives you no role.\n", 401, headers=asks)
