"""
The handler of the payments: `sharded-queue worker payments`.

`python payments.py ann 500 order-1` registers the charge for an order.
"""

import os
import sys
from typing import NamedTuple

import httpx

from sharded_queue import Handler, Route, SyncQueue

BANK = os.environ.get("BANK_URL", "http://localhost:8000")


class Charge(NamedTuple):
    account: str
    cents: int
    order: str


class ChargeHandler(Handler[Charge]):
    deduplicate_seconds = 86_400  # a producer that sends a charge again within a day registers nothing

    @classmethod
    async def route(cls, *charges: Charge) -> list[Route]:
        return [Route(charge.account) for charge in charges]

    @classmethod
    def identity(cls, charge: Charge) -> str:
        return charge.order

    async def start(self) -> None:
        self.client = httpx.AsyncClient(base_url=BANK)

    async def perform(self, *charges: Charge) -> None:
        for charge in charges:
            number = await pay(self.client, charge)
            print(f"{charge.order} is paid by charge {number}", flush=True)  # noqa: T201 - what a reader watches

    async def stop(self) -> None:
        await self.client.aclose()


async def pay(client: httpx.AsyncClient, charge: Charge) -> int:
    """The key is the order's, so that every try of this charge has the same one, in whatever worker."""
    headers = {"Idempotency-Key": f"charge-{charge.order}"}
    body = {"account": charge.account, "cents": charge.cents}
    answer = await client.post("/charges", json=body, headers=headers)
    number: int = answer.raise_for_status().json()["number"]
    return number


if __name__ == "__main__":
    _, account, cents, order = sys.argv
    (receipt,) = SyncQueue().register(ChargeHandler, Charge(account, int(cents), order))
    print("registered before" if receipt.is_duplicate else "registered")  # noqa: T201 - what a reader watches
