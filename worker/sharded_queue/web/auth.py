"""The console shows no page before it knows which person asks."""

from typing import Any

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from sharded_queue.web.headers import PROBE, Application, Scope
from sharded_queue.web.people import People


class Authenticated:
    """Puts the person into the state of each request, or asks for one."""

    def __init__(self, app: Application, people: People) -> None:
        self.app, self.people = app, people

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] == PROBE:
            await self.app(scope, receive, send)
            return
        person = await self.people.who(Headers(scope=scope))
        if person is None:
            await self.refusal()(scope, receive, send)
            return
        scope.setdefault("state", {})["person"] = person
        await self.app(scope, receive, send)

    def refusal(self) -> PlainTextResponse:
        asks = {"www-authenticate": 'Basic realm="sharded-queue", charset="UTF-8"'} if self.people.file else {}
        return PlainTextResponse("This console does not know you, or gives you no role.\n", 401, headers=asks)
