"""Which tubes requests go to: their routes, checked, and one partition per shard."""

from collections.abc import Callable, Mapping, Sequence
from inspect import isawaitable
from typing import Any, NamedTuple

from sharded_queue.errors import RouteError
from sharded_queue.handler import Handler
from sharded_queue.printable import counted
from sharded_queue.route import KeyRoute, Route, checked, checked_key
from sharded_queue.serializer import with_key_hash
from sharded_queue.storage import Entry
from sharded_queue.tube import Layout, Shard, Tube


class Partition(NamedTuple):
    """
    What goes to one shard: requests with their routes, in order, and the destination of each distinct route.

    A destination is a thread and a priority. Where the handler declares its number of threads, it is the hash of a key
    and a priority: the layout in force says which thread that is.
    """

    destinations: dict[Any, tuple[str | int, int]]
    routes: list[Any]
    bodies: list[bytes]
    identities: list[str]

    def tubes(self, shard: Shard, layout: Layout | None) -> dict[Any, Tube]:
        """The tube of each distinct route, in order of appearance; `Route(3)` and `Route("3")` share one."""
        thread_of: Callable[[Any], str] = layout.thread if layout else str
        return {
            route: Tube(shard, thread_of(target), priority) for route, (target, priority) in self.destinations.items()
        }

    def entries(self, tubes: Mapping[Any, Tube]) -> list[Entry]:
        """What to append to each tube."""
        if len(distinct := set(tubes.values())) == 1:
            (tube,) = distinct
            return [Entry(tube.thread, tube.priority, self.bodies, self.identities)]
        entries = {
            tube: Entry(tube.thread, tube.priority, [], [] if self.identities else ()) for tube in tubes.values()
        }
        _distribute(self.bodies, self.routes, {route: entries[tube].bodies for route, tube in tubes.items()})
        if self.identities:
            _distribute(
                self.identities, self.routes, {route: entries[tube].identities for route, tube in tubes.items()}
            )
        return list(entries.values())


async def routes_of(handler: type[Handler], requests: Sequence[Any]) -> list[Any]:
    """
    What the handler answers: one route per request. Whether each is usable shows in `partition`.

    Raises:
        RouteError: `route` is not a coroutine function, or its answer is not a list of one route per request.
    """
    answer = handler.route(*requests)
    if not isawaitable(answer):
        raise RouteError(f"{handler.name}.route must be `async def`; it returned {answer!r:.80} at once")
    return _one_each(handler, await answer, len(requests))


def partition(
    handler: type[Handler], routes: list[Any], bodies: list[bytes], identities: list[str]
) -> dict[Shard, Partition]:
    """
    Divide requests by shard; *identities* is empty where nobody looks for duplicates.

    Raises:
        RouteError: the handler cannot use a route.
    """
    destinations = _destinations(handler, routes)
    if handler.threads is not None:
        bodies = [with_key_hash(int(destinations[route][0]), body) for route, body in zip(routes, bodies, strict=True)]
    if handler.shards == 1:
        return {Shard(handler.name): Partition(destinations, routes, bodies, identities)}
    shards = {route: _shard(handler, target) for route, (target, _) in destinations.items()}
    partitions = {shard: Partition({}, [], [], []) for shard in shards.values()}
    for route, shard in shards.items():
        partitions[shard].destinations[route] = destinations[route]
    by_route = {route: partitions[shard] for route, shard in shards.items()}
    for route in routes:
        by_route[route].routes.append(route)
    _distribute(bodies, routes, {route: part.bodies for route, part in by_route.items()})
    if identities:
        _distribute(identities, routes, {route: part.identities for route, part in by_route.items()})
    return partitions


def _one_each(handler: type[Handler], routes: Any, count: int) -> list[Any]:
    if isinstance(routes, Route | KeyRoute):
        hint = "return a list with one for each request, as `[route] * len(requests)`"
        raise RouteError(f"{handler.name}.route returned one {routes!r:.80}: {hint}")
    if isinstance(routes, list | tuple) and len(routes) == count:
        return list(routes)
    given = counted(len(routes), "route") if isinstance(routes, list | tuple) else repr(routes)[:80]
    raise RouteError(
        f"{handler.name}.route must return a list of {counted(count, 'route')}, one per request; it returned {given}"
    )


def _destinations(handler: type[Handler], routes: Sequence[Any]) -> dict[Any, tuple[str | int, int]]:
    """The destination of each distinct route, in order of appearance."""
    check: Callable[[object], tuple[str | int, int]] = checked if handler.threads is None else checked_key
    try:
        return {route: check(route) for route in dict.fromkeys(routes)}
    except TypeError:  # something that cannot be hashed is not a route: its check says so
        return {route: check(route) for route in routes}


def _shard(handler: type[Handler], target: str | int) -> Shard:
    """The shard of a thread, or of the hash of a key: a key is in the same shard whatever the layout."""
    return handler.shard_of(target if isinstance(target, str) else Layout(1, handler.shards).thread(target))


def _distribute(items: Sequence[Any], routes: Sequence[Any], lists: Mapping[Any, Any]) -> None:
    """Append each item to the list of its route."""
    for route, item in zip(routes, items, strict=True):
        lists[route].append(item)
