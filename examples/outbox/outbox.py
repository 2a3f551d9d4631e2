"""What is the same with every database library: what a row holds, and how rows are registered."""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Protocol
from uuid import uuid4

from orders import OrderHandler

from sharded_queue import Handler, SyncQueue

HANDLERS = {handler.name: handler for handler in (OrderHandler,)}
WINDOW_SECONDS = 86_400
"""For how long Redis recognises a row that is registered again, at about 230 bytes a row."""

queue = SyncQueue()


class Row(Protocol):
    identity: str
    handler: str
    body: str


def columns(handler: type[Handler], request: Any) -> dict[str, str]:
    """What a row holds. If the request cannot be encoded, this raises, and the transaction is rolled back."""
    (body,) = handler.serializer().encode_all((request,))
    return {"identity": uuid4().hex, "handler": handler.name, "body": body.decode()}


def register(rows: Sequence[Row]) -> None:
    """Register rows in their order. Those that were registered before are left out."""
    for name, group in groupby(rows, key=attrgetter("handler")):
        handler, part = HANDLERS[name], list(group)
        queue.register(
            handler,
            *[handler.serializer().decode_one(row.body.encode()) for row in part],
            identities=[row.identity for row in part],
            deduplicate_seconds=WINDOW_SECONDS,
        )
