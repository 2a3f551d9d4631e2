"""Payments of accounts, in order; what fails is reported to Sentry."""

from contextlib import asynccontextmanager
from typing import NamedTuple

import reporting
import sentry_sdk

from sharded_queue import Handler, Retry, Route


class Payment(NamedTuple):
    account: int
    cents: int


class PaymentHandler(Handler[Payment]):
    retry = Retry(limit=3, base_seconds=1, cap_seconds=60)

    @classmethod
    async def route(cls, *requests: Payment) -> list[Route]:
        return [Route(thread=request.account) for request in requests]

    async def perform(self, *requests: Payment) -> None:
        for request in requests:
            if request.cents <= 0:
                raise ValueError(f"a payment of {request.cents} cents")


worker_middleware = [reporting.ReportFailedTries()]


@asynccontextmanager
async def worker_lifespan():
    reporting.start()
    yield
    sentry_sdk.flush(timeout=5)  # events that wait to be sent
