"""
What the pods of `test_dashboards.py` run beside the example, mounted into them: a handler whose requests say how long
they take, whether they are held until the test opens the gate of their customer, and whether they can be done at all.
"""

import asyncio
from typing import NamedTuple

from sharded_queue import Handler, Retry, Route

BACK_OFF_SECONDS = 600
"""Longer than any test, which lets a back-off end when it has seen what it came for."""


class Order(NamedTuple):
    customer: str
    seconds: float = 0.0
    is_express: bool = False
    is_bad: bool = False
    is_held: bool = False


class OrderHandler(Handler):
    name = "orders.OrderHandler"
    retry = Retry(limit=3, base_seconds=BACK_OFF_SECONDS, cap_seconds=BACK_OFF_SECONDS)

    @classmethod
    async def route(cls, *requests: Order) -> list[Route]:
        return [Route(order.customer, 0 if order.is_express else 1) for order in requests]

    async def perform(self, *requests: Order) -> None:
        from gate import passed  # its name in pods

        for order in requests:
            await asyncio.sleep(order.seconds)
            if order.is_held:
                await passed(f"orders:{order.customer}")
            if order.is_bad:
                raise ValueError(f"an order of {order.customer} is about nothing that is sold")
