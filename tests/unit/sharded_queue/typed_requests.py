"""
What a user writes, for type checkers to read. `test_typing.py` wants an error on each line that ends with `# refused`,
and no other error.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from sharded_queue import Handler, KeyRoute, Queue, Route, SyncQueue

T = TypeVar("T")


class Charge(NamedTuple):
    account: int
    cents: int


class Refund(NamedTuple):
    account: int


class ChargeHandler(Handler[Charge]):
    @classmethod
    async def route(cls, *requests: Charge) -> list[Route]:
        return [Route(request.account) for request in requests]

    @classmethod
    def identity(cls, request: Charge) -> str | None:
        return str(request.account)

    async def perform(self, *requests: Charge) -> None:
        print(sum(request.cents for request in requests))


class PlainFunctionHandler(Handler[Charge]):
    @classmethod
    async def route(cls, *charges: Charge) -> Sequence[KeyRoute]:
        return [KeyRoute(charge.account) for charge in charges]

    def perform(self, *charges: Charge) -> None: ...


class WiderHandler(Handler[Charge]):
    async def perform(self, *requests: Charge | Refund) -> None: ...


class WholeBatchHandler(Handler[Charge]):
    async def handle(self, *requests: Charge) -> None:
        await super().handle(*requests)


class UntypedHandler(Handler):
    async def perform(self, *requests: Charge) -> None: ...


class AuditedHandler(Handler[T]):
    async def perform(self, *requests: T) -> None: ...


class AuditedRefundHandler(AuditedHandler[Refund]): ...


class WrongPerform(Handler[Charge]):
    async def perform(self, *requests: Refund) -> None: ...  # refused


class WrongPlainPerform(Handler[Charge]):
    def perform(self, *requests: Refund) -> None: ...  # refused


class SingleRequest(Handler[Charge]):
    async def perform(self, request: Charge) -> None: ...  # refused


class WrongRoute(Handler[Charge]):
    @classmethod
    async def route(cls, *requests: Refund) -> list[Route]:  # refused
        return []


class PlainRoute(Handler[Charge]):
    @classmethod
    def route(cls, *requests: Charge) -> list[Route]:  # refused
        return []


class WrongIdentity(Handler[Charge]):
    @classmethod
    def identity(cls, request: Refund) -> str | None: ...  # refused


async def register(queue: Queue) -> None:
    await queue.register(ChargeHandler, Charge(7, 500), Charge(9, 120), headers={"origin": "shop"})
    await queue.register(ChargeHandler)
    await queue.register(PlainFunctionHandler, Charge(7, 500), delay_seconds=3600)
    await queue.register(AuditedRefundHandler, Refund(7))
    await queue.register(UntypedHandler, Refund(7), "any", 3)
    await queue.schedule(ChargeHandler, Charge(7, 500), name="monthly", cron="0 0 1 * *")
    await queue.register(ChargeHandler, Refund(7))  # refused
    await queue.register(ChargeHandler, Charge(7, 500), Refund(7))  # refused
    await queue.register(ChargeHandler, "Charge")  # refused
    await queue.register(PlainFunctionHandler, (7, 500))  # refused
    await queue.register(AuditedRefundHandler, Charge(7, 500))  # refused
    await queue.register(ChargeHandler, Charge("7", 500))  # refused
    await queue.schedule(ChargeHandler, Refund(7), name="monthly", every_seconds=60)  # refused


def register_without_a_loop(queue: SyncQueue) -> None:
    queue.register(ChargeHandler, Charge(7, 500))
    queue.register(UntypedHandler, Refund(7), "any", 3)
    queue.schedule(ChargeHandler, Charge(7, 500), name="monthly", every_seconds=60)
    queue.register(ChargeHandler, Refund(7))  # refused
    queue.schedule(ChargeHandler, Refund(7), name="monthly", every_seconds=60)  # refused


async def register_with_any(queue: Queue, handler: type[Handler], other: type[Handler[T]], request: T) -> None:
    await queue.register(handler, Charge(7, 500), "any")
    await queue.register(other, request)
    await queue.register(other, Charge(7, 500))  # refused
