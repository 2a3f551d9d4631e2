"""The handler after the change: a field was added, one renamed, one removed."""

import msgspec

from sharded_queue import Handler, Route


class Charge(msgspec.Struct):
    account: str
    amount: int = msgspec.field(name="cents")  # renamed here; requests keep the old name
    currency: str = "EUR"  # added: what waiting requests do not have gets the default
    # removed: `note`, which waiting requests may still have


class ChargeHandler(Handler[Charge]):
    @classmethod
    async def route(cls, *charges: Charge) -> list[Route]:
        return [Route(charge.account) for charge in charges]

    async def perform(self, *charges: Charge) -> None:
        for charge in charges:
            print(f"new worker: {charge.account} {charge.amount} {charge.currency}", flush=True)  # noqa: T201 - watched


def charge(account: str, cents: int) -> Charge:
    return Charge(account, cents, currency="CHF")
