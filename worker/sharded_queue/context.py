"""What a handler can ask about the batch it is handling."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple

from sharded_queue.errors import ShardedQueueError
from sharded_queue.lease import Lease
from sharded_queue.tube import Tube


class Context(NamedTuple):
    """
    The batch in hand. *sequences*, *registered_ms* and *headers* have one item per request, in their order.

    `lease.fence` grows with every bind of the thread: write it beside your own data and refuse a smaller one, and a
    worker that was overtaken can do no harm there either. *attempt* counts the tries of the first request.
    """

    lease: Lease
    tube: Tube
    attempt: int
    sequences: range
    registered_ms: list[int]
    headers: list[Mapping[str, str]]


batch: ContextVar[Context] = ContextVar("batch")


def current() -> Context:
    """
    The context of the running `perform` or `handle`, also inside OS threads it started by `asyncio.to_thread`.

    Raises:
        ShardedQueueError: no handler is running here.
    """
    try:
        return batch.get()
    except LookupError:
        raise ShardedQueueError("there is no batch here: current() answers inside perform and handle") from None
