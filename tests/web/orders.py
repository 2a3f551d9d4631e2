"""What the applications register: an order per request, in the order of each customer."""

from sharded_queue import Handler, Route


class Order(Handler):
    name = "web.Order"

    @classmethod
    async def route(cls, *requests: tuple[str, int]) -> list[Route]:
        return [Route(customer) for customer, _ in requests]

    async def perform(self, *requests: tuple[str, int]) -> None: ...
