"""The registering side: routes requests into tubes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

from sharded_queue.errors import QueueFull, RouteError
from sharded_queue.handler import Handler
from sharded_queue.serializer import pack
from sharded_queue.settings import settings
from sharded_queue.storage import Entry, Storage
from sharded_queue.tube import Shard, Tube, checked

LONGEST_DELAY_SECONDS = 315_360_000


class Receipt(NamedTuple):
    """Where a request waits: its tube, and its sequence number there. Unique per handler."""

    tube: Tube
    sequence: int


class Receipts(Sequence[Receipt]):
    """A receipt per registered request, in the order of registration; made when looked at, as most never are."""

    def __init__(self, routes: Sequence[Any], tubes: Mapping[Any, Tube], firsts: Mapping[Tube, int]) -> None:
        self._routes, self._tubes, self._firsts = routes, tubes, firsts
        self._made: list[Receipt] | None = None

    def __len__(self) -> int:
        return len(self._routes)

    @overload
    def __getitem__(self, place: int) -> Receipt: ...
    @overload
    def __getitem__(self, place: slice) -> list[Receipt]: ...
    def __getitem__(self, place: int | slice) -> Receipt | list[Receipt]:
        if self._made is None:
            self._made = list(self._make())
        return self._made[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def _make(self) -> Iterator[Receipt]:
        following = dict(self._firsts)
        for route in self._routes:
            tube = self._tubes[route]
            yield Receipt(tube, following[tube])
            following[tube] += 1


class Queue:
    """
    Registers requests with handlers.

    A queue has no state besides its storage: make as many as are convenient.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    async def register(
        self,
        handler: type[Handler],
        *requests: Any,
        headers: Mapping[str, str] | None = None,
        delay_seconds: float = 0.0,
    ) -> Receipts:
        """
        Put requests into their tubes, all or nothing (per shard, where the handler has several); a receipt for each,
        in the order given. Requests of one tube keep that order.

        *headers* travel with every request and are seen in the handler's context. With *delay_seconds*, the requests
        take their places in their tubes when so much time has passed, behind those that wait there then; until then
        they stop nobody, and their receipts' numbers are those of the registration.

        Raises:
            QueueFull: no room; nothing was registered.
            RouteError: `route` did not give a usable route per request; nothing was registered.
            SerializationError: a request cannot be encoded; nothing was registered.
            StorageUnavailable: no answer within `settings.redis_retry`; the requests may or may not be registered.
        """
        if not requests:
            return Receipts([], {}, {})
        if len(requests) > settings.register_limit:
            raise QueueFull(
                f"{len(requests)} requests in one call are more than QUEUE_REGISTER_LIMIT = {settings.register_limit}: "
                "register them in parts"
            )
        if not 0 <= delay_seconds <= LONGEST_DELAY_SECONDS:
            raise ValueError(f"delay_seconds is {delay_seconds!r}: from 0 to {LONGEST_DELAY_SECONDS} (ten years)")
        bodies = handler.serializer().encode_all(requests)
        if headers:
            bodies = [pack(body, headers) for body in bodies]
        routes = _checked(handler, await handler.route(*requests), len(requests))
        tubes = _tubes(handler, routes)
        entries = _entries(routes, tubes, bodies)
        firsts: dict[Tube, int] = {}
        for shard, lines in entries.items():
            numbers = await self.storage.register(shard, list(lines.values()), handler.capacity, delay_seconds)
            firsts.update(zip(lines, numbers, strict=True))
        return Receipts(routes, tubes, firsts)


def _entries(
    routes: Sequence[Any], tubes: Mapping[Any, Tube], bodies: list[bytes]
) -> Mapping[Shard, Mapping[Tube, Entry]]:
    """What to append to each tube, by shard."""
    entries = {tube: Entry(tube.thread, tube.priority, []) for tube in tubes.values()}
    line_of = {route: entries[tube].bodies for route, tube in tubes.items()}
    for route, body in zip(routes, bodies, strict=True):
        line_of[route].append(body)
    shards: dict[Shard, dict[Tube, Entry]] = {}
    for tube, entry in entries.items():
        shards.setdefault(tube.shard, {})[tube] = entry
    return shards


def _checked(handler: type[Handler], routes: Any, count: int) -> Sequence[Any]:
    if isinstance(routes, list | tuple) and len(routes) == count:
        return routes
    given = f"{len(routes)} routes" if isinstance(routes, list | tuple) else repr(routes)[:80]
    raise RouteError(f"{handler.name}.route must return a list of {count} routes, one per request; it returned {given}")


def _tubes(handler: type[Handler], routes: Sequence[Any]) -> dict[Any, Tube]:
    """The tube of each distinct route, in order of appearance; `Route(3)` and `Route("3")` share one."""
    try:
        distinct = dict.fromkeys(routes)
    except TypeError:  # one is not even hashable, so one is no route
        distinct = dict.fromkeys(map(checked, routes))
    return {route: _tube(handler, route) for route in distinct}


def _tube(handler: type[Handler], route: object) -> Tube:
    thread, priority = checked(route)
    return Tube(handler.shard_of(thread), thread, priority)
