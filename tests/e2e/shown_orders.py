"""What the worker pod of `test_console.py` runs, mounted into it: one customer's order fails, another's takes long."""

from sharded_queue import Handler, Retry, Route


class Order(Handler):
    name = "tests.Order"
    retry = Retry(limit=5, base_seconds=3600, cap_seconds=3600)

    @classmethod
    async def route(cls, *customers: str) -> list[Route]:
        return [Route(thread=customer) for customer in customers]

    async def perform(self, *customers: str) -> None:
        from gate import passed  # where this runs, it lies beside this module

        for customer in customers:
            if customer == "failing":
                raise ValueError("Declined: the card has expired")
            if customer == "slow":
                await passed("slow")
