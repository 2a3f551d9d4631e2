"""The handler before the change."""

import msgspec

from sharded_queue import Handler, Route


class Charge(msgspec.Struct):
    account: str
    cents: int
    note: str


class ChargeHandler(Handler[Charge]):
    @classmethod
    async def route(cls, *charges: Charge) -> list[Route]:
        return [Route(charge.account) for charge in charges]

    async def perform(self, *charges: Charge) -> None:
        for charge in charges:
            print(f"old worker: {charge.account} {charge.cents} {charge.note!r}", flush=True)  # noqa: T201 - watched


def charge(account: str, cents: int) -> Charge:
    return Charge(account, cents, note="thanks")
