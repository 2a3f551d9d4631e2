"""The handler of both shops: `sharded-queue worker orders`."""

from typing import NamedTuple

from sharded_queue import Handler, Route


class Order(NamedTuple):
    customer: str
    number: int


class OrderHandler(Handler):
    @classmethod
    async def route(cls, *orders: Order) -> list[Route]:
        return [Route(order.customer) for order in orders]  # the orders of each customer, in order

    async def perform(self, *orders: Order) -> None:
        for order in orders:
            print(f"order {order.customer} {order.number}", flush=True)  # noqa: T201 - all that this example does
