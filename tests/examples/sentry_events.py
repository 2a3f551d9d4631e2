"""
Serves payments in memory behind the middleware of the example, and prints the events that Sentry's SDK would send, as
lines of JSON. In a process of its own, because the SDK changes the logging of its process.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "sentry"))

import payments  # type: ignore[import-not-found]
import reporting  # type: ignore[import-not-found]

from sharded_queue import LeaseLost, Queue, Retry, RuntimeCoordinator, RuntimeStorage, Worker, settings

settings.worker_empty_limit = 1
settings.retry_base = 0.0


class Printing(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        if event := envelope.get_event():
            print(json.dumps({"kind": sys.argv[1], **event}, default=str), flush=True)


class Payments(payments.PaymentHandler):
    name = "payments.PaymentHandler"
    retry = Retry(limit=3, base_seconds=0, cap_seconds=0)


class Overtaken(payments.PaymentHandler):
    name = "payments.Overtaken"
    began = asyncio.Event()

    async def perform(self, *requests: Any) -> None:
        if self.began.is_set():
            return
        self.began.set()
        if requests[0].cents < 0:
            raise LeaseLost("the ledger refused the fence")
        await asyncio.Event().wait()


async def failing() -> None:
    """Account 7: one bad payment between two good ones, tried three times."""
    queue = Queue(RuntimeStorage(), middleware=payments.worker_middleware)
    await queue.register(Payments, *(payments.Payment(7, cents) for cents in (100, -5, 300)))
    await Worker(RuntimeCoordinator(), queue, handlers=[Payments]).loop(2)


async def overtaken() -> None:
    """The lease of a running batch is lost."""
    queue = Queue(RuntimeStorage(), middleware=payments.worker_middleware)
    await queue.register(Overtaken, payments.Payment(7, 100))
    worker = Worker(RuntimeCoordinator(), queue, handlers=[Overtaken])
    looping = asyncio.create_task(worker.loop())
    await Overtaken.began.wait()
    (lane,) = worker.lanes
    lane.revoke("another worker holds the thread")
    worker.stop()
    await looping


async def refused() -> None:
    """The handler's own database refuses the fence."""
    queue = Queue(RuntimeStorage(), middleware=payments.worker_middleware)
    await queue.register(Overtaken, payments.Payment(7, -100))
    await Worker(RuntimeCoordinator(), queue, handlers=[Overtaken]).loop(1)


reporting.start(dsn="http://key@localhost/1", transport=Printing)
asyncio.run({"failing": failing, "overtaken": overtaken, "refused": refused}[sys.argv[1]]())
sentry_sdk.flush()
