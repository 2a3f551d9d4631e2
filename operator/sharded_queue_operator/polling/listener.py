"""
Hears the wake-ups that a Redis publishes when an empty queue gets its first request.

Without them the operator still sees the request, one poll period later at most.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from time import monotonic

from sharded_queue.backends.redis.client import Client
from sharded_queue.backends.redis.link import as_redis_errors, discover_cluster
from sharded_queue_operator.polling.connection import ANSWER_SECONDS, REDIS_FAILURES, Connection, is_cancelled
from sharded_queue_operator.polling.reader import Subscription
from sharded_queue_operator.polling.timetable import LONGEST_PAUSE_SECONDS
from sharded_queue_operator.resource.name import Name

log = logging.getLogger(__name__)

LISTEN_SECONDS = 1.0
"""How long to wait for a message before looking for new channels to listen on."""

WAKEUPS_AT_ONCE = 100
YIELD_SECONDS = 0.05
"""After `WAKEUPS_AT_ONCE` wake-ups of one Redis, others get a turn this long. More wake-ups wait in its buffer."""

RETRY_SECONDS = 1.0
"""Before listening again after a failure; twice as long each time, up to `LONGEST_PAUSE_SECONDS`."""


class Listener:
    """*on_wakeup* gets the resources among *subscriptions* that have a queue with a first request."""

    def __init__(
        self,
        connection: Connection,
        is_answering: asyncio.Event,
        subscriptions: Mapping[Name, Subscription],
        on_wakeup: Callable[[Iterable[Name]], None],
    ) -> None:
        self._connection = connection
        self._is_answering = is_answering
        self._subscriptions = subscriptions
        self._on_wakeup = on_wakeup

    async def run(self) -> None:
        pause = RETRY_SECONDS
        while not is_cancelled():
            await self._is_answering.wait()
            begun = monotonic()
            await self._try_to_listen()
            has_lasted = monotonic() > begun + LONGEST_PAUSE_SECONDS
            pause = RETRY_SECONDS if has_lasted else min(2 * pause, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)

    async def _try_to_listen(self) -> None:
        try:
            client = await self._connection.open()
            with as_redis_errors():
                await self.listen(client)
        except REDIS_FAILURES as error:
            log.debug("%s: not listening for wake-ups: %s", self._connection.target.redis.addresses, error)
        except Exception:
            log.exception("%s: listening for wake-ups failed", self._connection.target.redis.addresses)

    async def listen(self, client: Client) -> None:
        """Pass wake-ups on until *client* is replaced or this task is cancelled."""
        await discover_cluster(client, ANSWER_SECONDS)
        async with client.pubsub() as pubsub:
            channels: set[str] = set()
            for turn in count(1):
                if client is not self._connection.client or is_cancelled():
                    return
                if turn % WAKEUPS_AT_ONCE == 0:
                    await asyncio.sleep(YIELD_SECONDS)
                wanted = {each.keys.awake for each in self._subscriptions.values()}
                if wanted - channels:
                    await pubsub.subscribe(*(wanted - channels))
                    channels = wanted
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=LISTEN_SECONDS)
                if message:
                    self._on_wakeup(self._woken(_text(message["channel"]), _text(message["data"])))

    def _woken(self, channel: str, tag: str) -> list[Name]:
        """The resources that have the shard with this *tag*."""
        return [
            name
            for name, each in self._subscriptions.items()
            if each.keys.awake == channel and any(shard.tag == tag for shard in each.shards)
        ]


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
