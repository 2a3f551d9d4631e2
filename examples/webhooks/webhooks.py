"""
The handler of the webhooks: `sharded-queue worker webhooks`.

`python webhooks.py ann http://localhost:8000/ '{"paid": 1}'` registers an event for a customer.
"""

import base64
import hmac
import os
import sys
import time
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from uuid import uuid4

import httpx

from sharded_queue import GiveUp, Handler, Retry, Route, Snooze, SyncQueue, current

SECRET = os.environ.get("WEBHOOK_SECRET", "of an example")
TIMEOUT_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 3600


class Event(NamedTuple):
    customer: str
    url: str
    id: str
    body: str


class WebhookHandler(Handler[Event]):
    retry = Retry(limit=12, base_seconds=5, cap_seconds=3600)  # 2.4 hours, then the event is a dead letter

    @classmethod
    async def route(cls, *events: Event) -> list[Route]:
        return [Route(event.customer) for event in events]

    async def start(self) -> None:
        """A thread was bound: one client, which keeps the connection to this customer open."""
        self.client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS)

    async def perform(self, *events: Event) -> None:
        for delivered, event in enumerate(events):
            current().done(delivered)  # whatever becomes of this event, those before it are not sent again
            await self.deliver(event)

    async def deliver(self, event: Event) -> None:
        sent_at = str(int(time.time()))
        headers = {
            "content-type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": sent_at,
            "webhook-signature": signature(event.id, sent_at, event.body),
        }
        answer = await self.client.post(event.url, content=event.body, headers=headers)
        if answer.status_code == 410:
            raise GiveUp("410: the customer has closed this address")
        if answer.status_code == 429:
            raise Snooze(wait_seconds(answer.headers.get("retry-after", "")), "429 by the customer")
        answer.raise_for_status()

    async def stop(self) -> None:
        await self.client.aclose()


def wait_seconds(retry_after: str) -> float:
    """Of an answer's `Retry-After`, which is a number of seconds or a date; a minute if it is neither."""
    try:
        seconds = (
            float(retry_after)
            if retry_after.isdigit()
            else parsedate_to_datetime(retry_after).timestamp() - time.time()
        )
    except ValueError:
        seconds = 60.0
    return min(max(seconds, 1.0), LONGEST_WAIT_SECONDS)


def signature(event_id: str, sent_at: str, body: str) -> str:
    """As standardwebhooks.com describes it."""
    digest = hmac.digest(SECRET.encode(), f"{event_id}.{sent_at}.{body}".encode(), "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


if __name__ == "__main__":
    _, customer, url, *bodies = sys.argv
    SyncQueue().register(WebhookHandler, *[Event(customer, url, uuid4().hex, body) for body in bodies])
