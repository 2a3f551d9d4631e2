"""The registering side: routes requests into tubes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sharded_queue.errors import QueueFull, RouteError
from sharded_queue.handler import Handler
from sharded_queue.serializer import pack
from sharded_queue.settings import settings
from sharded_queue.storage import Entry, Storage
from sharded_queue.tube import Shard, Tube, checked


class Receipt(NamedTuple):
    """Where a request waits: its tube, and its sequence number there. Unique per handler."""

    tube: Tube
    sequence: int


class Queue:
    """
    Registers requests with handlers.

    A queue has no state besides its storage: make as many as are convenient.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    async def register(
        self, handler: type[Handler], *requests: Any, headers: Mapping[str, str] | None = None
    ) -> list[Receipt]:
        """
        Put requests into their tubes, all or nothing (per shard, where the handler has several); a receipt for each,
        in the order given. Requests of one tube keep that order.

        *headers* travel with every request and are seen in the handler's context.

        Raises:
            QueueFull: no room; nothing was registered.
            RouteError: `route` did not give a usable route per request; nothing was registered.
            SerializationError: a request cannot be encoded; nothing was registered.
            StorageUnavailable: no answer within `settings.redis_retry`; the requests may or may not be registered.
        """
        if not requests:
            return []
        if len(requests) > settings.register_limit:
            raise QueueFull(
                f"{len(requests)} requests in one call are more than QUEUE_REGISTER_LIMIT = {settings.register_limit}: "
                "register them in parts"
            )
        bodies = handler.serializer().encode_all(requests)
        if headers:
            bodies = [pack(body, headers) for body in bodies]
        tubes = _tubes(handler, await handler.route(*requests), len(requests))
        return await self._append(handler, tubes, bodies)

    async def _append(self, handler: type[Handler], tubes: list[Tube], bodies: list[bytes]) -> list[Receipt]:
        entries: dict[Shard, dict[Tube, Entry]] = {}
        places: list[tuple[Tube, int]] = []
        for tube, body in zip(tubes, bodies, strict=True):
            lines = entries.setdefault(tube.shard, {})
            if (entry := lines.get(tube)) is None:
                entry = lines[tube] = Entry(tube.thread, tube.priority, [])
            places.append((tube, len(entry.bodies)))
            entry.bodies.append(body)
        firsts: dict[Tube, int] = {}
        for shard, lines in entries.items():
            numbers = await self.storage.register(shard, list(lines.values()), handler.capacity)
            firsts.update(zip(lines, numbers, strict=True))
        return [Receipt(tube, firsts[tube] + place) for tube, place in places]


def _tubes(handler: type[Handler], routes: Any, count: int) -> list[Tube]:
    if not isinstance(routes, list | tuple) or len(routes) != count:
        given = f"{len(routes)} routes" if isinstance(routes, list | tuple) else repr(routes)[:80]
        raise RouteError(
            f"{handler.name}.route must return a list of {count} routes, one per request; it returned {given}"
        )
    known: dict[Any, Tube] = {}
    for route in routes:
        try:
            if route not in known:
                known[route] = _tube(handler, route)
        except TypeError:  # unhashable, so certainly no route
            checked(route)
    return [known[route] for route in routes]


def _tube(handler: type[Handler], route: object) -> Tube:
    thread, priority = checked(route)
    return Tube(handler.shard_of(thread), thread, priority)
