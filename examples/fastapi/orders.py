"""The handler of the shop: `sharded-queue worker orders`."""

from pydantic import BaseModel, Field

from sharded_queue import Handler, Route


class Order(BaseModel):
    customer: str = Field(min_length=1, max_length=100)
    article: str = Field(min_length=1, max_length=100)


class OrderHandler(Handler[Order]):
    @classmethod
    async def route(cls, *orders: Order) -> list[Route]:
        return [Route(order.customer) for order in orders]  # the orders of each customer, in order

    async def perform(self, *orders: Order) -> None:
        for order in orders:
            print(f"{order.customer} gets {order.article}", flush=True)  # noqa: T201 - all that this example does
