"""A shop to look at: a card that is declined, a slow customer, mails that fail, and all others at their work."""

import asyncio
from typing import Any

from sharded_queue import Handler, Retry, Route


class Charge(Handler):
    name = "shop.Charge"
    retry = Retry(limit=8, base_seconds=20, cap_seconds=600)

    @classmethod
    async def route(cls, *orders: Any) -> list[Route]:
        return [Route(thread=order["customer"]) for order in orders]

    @classmethod
    def redact(cls, request: Any) -> Any:
        return request | {"card": "…"}

    async def perform(self, *orders: Any) -> None:
        for order in orders:
            if order["customer"] == "ada":
                raise ValueError(f"Declined: the card of order {order['order']} has expired")
            await asyncio.sleep(30 if order["customer"] == "grace" else 0.02)


class Mail(Handler):
    name = "shop.Mail"
    retry = Retry(limit=1, base_seconds=0, cap_seconds=0)

    @classmethod
    async def route(cls, *mails: Any) -> list[Route]:
        return [Route(thread=mail["to"]) for mail in mails]

    async def perform(self, *mails: Any) -> None:
        for mail in mails:
            await asyncio.sleep(0.01)
            if mail["order"] % 9 == 0:
                raise ConnectionError(f"mail.example refused the mail to {mail['to']}: mailbox full")


class Report(Handler):
    name = "shop.Report"

    async def perform(self, *reports: Any) -> None:
        pass
