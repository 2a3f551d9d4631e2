"""
What the pods of `test_dashboards.py` run beside the example, mounted into them: a handler whose requests say how long
they take, and whether they can be done at all.
"""

import asyncio
from typing import NamedTuple

from sharded_queue import Handler, Retry, Route


class Order(NamedTuple):
    customer: str
    seconds: float = 0.0
    is_express: bool = False
    is_bad: bool = False


class OrderHandler(Handler):
    name = "orders.OrderHandler"
    retry = Retry(limit=4, base_seconds=2, cap_seconds=60)

    @classmethod
    async def route(cls, *requests: Order) -> list[Route]:
        return [Route(order.customer, 0 if order.is_express else 1) for order in requests]

    async def perform(self, *requests: Order) -> None:
        for order in requests:
            await asyncio.sleep(order.seconds)
            if order.is_bad:
                raise ValueError(f"an order of {order.customer} is about nothing that is sold")
