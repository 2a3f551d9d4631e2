"""What a handler can ask about the batch it is handling."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import NamedTuple

from sharded_queue.errors import ShardedQueueError
from sharded_queue.lease import Lease
from sharded_queue.serializer import unpack
from sharded_queue.tube import Tube


class Context(NamedTuple):
    """
    The batch in hand. Each list has one item per request, in their order.

    `lease.fence` grows with every bind of the thread. Write it beside your own data and refuse smaller ones: then a
    worker that was overtaken can do no harm there either. *attempt* counts the tries of the first request, this one
    included. *sequences* are the requests' numbers in their tube. A dead letter that was put back at the head may have
    the number of a request handled earlier: to recognise a request that was handled before, use an identity of your
    own.
    """

    lease: Lease
    tube: Tube
    attempt: int
    sequences: range
    messages: Sequence[bytes]
    """The requests as the storage keeps them."""

    @property
    def registered_ms(self) -> list[int]:
        """When each request was registered, by the storage's clock."""
        return [unpack(message).registered_ms for message in self.messages]

    @property
    def headers(self) -> list[Mapping[str, str]]:
        """The headers that each request was registered with."""
        return [unpack(message).headers for message in self.messages]


batch: ContextVar[Context] = ContextVar("batch")


def current() -> Context:
    """
    The context of the running `perform` or `handle`, also inside OS threads started by `asyncio.to_thread`.

    Raises:
        ShardedQueueError: no handler is running here.
    """
    try:
        return batch.get()
    except LookupError:
        raise ShardedQueueError("there is no batch here: call current() inside perform or handle") from None
