"""Handlers of a run that has it all: a thread that fails, one that takes long, names and errors of strangers."""

import asyncio
from typing import Any

from sharded_queue import Handler, KeyRoute, Retry, Route, current

ATTACK = "<img src=x onerror='window.attacked = 1'>"
MARKUP = f"{ATTACK}</script></pre>"
TURNED = "\x1b[31mred\u202egnirts"
"""What a terminal would obey, and what turns the writing direction."""


class Charge(Handler):
    """Customer 7 fails and backs off for an hour; customer 9 takes for ever, and reports how far it is."""

    name = "shop.Charge"
    retry = Retry(limit=5, base_seconds=3600, cap_seconds=3600)

    @classmethod
    async def route(cls, *charges: Any) -> list[Route]:
        return [Route(thread=charge["customer"]) for charge in charges]

    @classmethod
    def redact(cls, request: Any) -> Any:
        return request | {"card": "…"} if "card" in request else request

    async def perform(self, *charges: Any) -> None:
        for charge in charges:
            if charge["customer"] == 7:
                raise ValueError(f"Declined: the card of order {charge['order']} has expired")
            if charge["customer"] == 9:
                current().progress(1, 3, "lines of an invoice that is so long that its report fills a phone")
                await asyncio.Event().wait()


class Mail(Handler):
    """Every mail fails for good, and what it says is hostile."""

    name = "shop.Mail"
    retry = Retry(limit=1, base_seconds=0, cap_seconds=0)

    @classmethod
    async def route(cls, *mails: Any) -> list[Route]:
        return [Route(thread=mail["to"]) for mail in mails]

    async def perform(self, *mails: Any) -> None:
        raise RuntimeError(f"{MARKUP} {TURNED}")


class Keyed(Handler):
    """Its keys are spread over four threads."""

    name = "shop.Keyed"
    threads = 4

    @classmethod
    async def route(cls, *keys: int) -> list[KeyRoute]:
        return [KeyRoute(str(key)) for key in keys]

    async def perform(self, *keys: int) -> None:
        pass
