"""Wake-ups of queues that get a first request."""

import asyncio
from types import SimpleNamespace
from typing import Any

from sharded_queue_operator.allowed import Allowed
from sharded_queue_operator.polling.connection import Connection, RedisTarget
from sharded_queue_operator.polling.guard import Budgets
from sharded_queue_operator.polling.listener import WAKEUPS_AT_ONCE, Listener
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Redis


class EndlessCalls:
    """A subscription whose next call is always there already, so that to take it never waits."""

    def __init__(self) -> None:
        self.taken = 0

    async def __aenter__(self) -> "EndlessCalls":
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def subscribe(self, *_: str) -> None: ...

    async def get_message(self, **_: object) -> dict[str, bytes]:
        self.taken += 1
        return {"channel": b"tube_awake", "data": b"{notifications.NotifyHandler}"}


async def test_a_redis_that_calls_without_end_leaves_turns_to_others() -> None:
    async def no_secret(_: Name) -> None: ...

    calls = EndlessCalls()
    client: Any = SimpleNamespace(pubsub=lambda: calls)
    connection = Connection(
        RedisTarget("", Redis(addresses=("127.0.0.1:1",))), no_secret, Allowed(), Budgets().make(list)
    )
    connection.client = client
    listener = Listener(connection, asyncio.Event(), {}, lambda _: None)
    listening = asyncio.create_task(listener.listen(client))

    await asyncio.sleep(0)  # comes back only when the calls leave a turn

    assert calls.taken == WAKEUPS_AT_ONCE - 1
    listening.cancel()
