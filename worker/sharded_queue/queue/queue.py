"""The registering side: `Queue` puts requests into tubes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from sharded_queue import timing, tracing
from sharded_queue.errors import QueueFull, RouteError, SerializationError
from sharded_queue.handler import Handler, R, check_handler
from sharded_queue.printable import printable
from sharded_queue.queue import middleware as around
from sharded_queue.queue.deduplication import duplicate_receipts, identities_of, window_of
from sharded_queue.queue.partition import Partition, partition, routes_of
from sharded_queue.queue.receipts import Receipt, Receipts
from sharded_queue.serializer import pack
from sharded_queue.settings import settings
from sharded_queue.state import Delayed, Upcoming
from sharded_queue.steps import in_steps
from sharded_queue.storage import (
    LONGEST_DELAY_SECONDS,
    MOST_PRIORITIES,
    Entry,
    LayoutChanged,
    Registered,
    Registration,
    Resharded,
    Schedule,
    Storage,
)
from sharded_queue.tube import Layout, Shard, Tube, threads_fault

NAME_LENGTH = 200
LONGEST_TIMEOUT_SECONDS = 300
"""As of `settings.redis_retry`: Redis recognises a repeated registration for ten minutes."""
IN_PARTS = "register them in parts"
CALL_BYTES = 4_194_304
"""All requests of one call together, unless it is a single one: Redis takes 3 ms for a megabyte."""


class Queue:
    """
    Registers requests with handlers.

    A queue has no state besides its storage and its *middleware*: make as many as you like.

    Raises:
        HandlerError: *middleware* has something else than instances of Middleware.
    """

    def __init__(self, storage: Storage, *, middleware: Sequence[around.Middleware] = ()) -> None:
        self.storage, self.middleware = storage, around.checked(middleware)
        self._layers = around.overriding("register", self.middleware)

    async def register(
        self,
        handler: type[Handler[R]],
        *requests: R,
        headers: Mapping[str, str] | None = None,
        delay_seconds: float = 0.0,
        deduplicate_seconds: float | None = None,
        identities: Sequence[str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Receipts:
        """
        Put requests into their tubes, all or none of them; returns a receipt for each, in the order given. (Per shard,
        if the handler has several: then an error speaks of one shard, and others may have their requests.) The requests
        of one tube keep that order.

        *headers* travel with every request, and the handler sees them in its context. OpenTelemetry adds its own, where
        it is installed and set up. *delay_seconds*: the requests join their tubes when this time has passed, behind
        what waits there by then. Until then they hold nothing up, and their receipts carry the numbers of the
        registration.

        *deduplicate_seconds* (None: the handler's): a request is left out if its `Handler.identity` was registered
        within the window of an earlier request, handled or not; its receipt names the earlier one. The window starts
        with the registration, by the storage's clock. A duplicate does not extend it, and needs no room in its tube.
        *identities*: one per request, in place of `Handler.identity`.

        *timeout_seconds*: the longest to wait for Redis, in place of `settings.redis_retry`: for a producer that must
        answer somebody itself.

        Raises:
            HandlerError: *handler* is not a subclass of Handler, or its `identity` returned something other than a str
                or None; nothing was registered.
            QueueFull: there is no room, or the call is larger than one step of Redis may be; nothing was registered.
            RouteError: `route` did not return a usable route per request; nothing was registered.
            SerializationError: a request cannot be encoded, has a field that no worker could read as the annotated
                type, or is larger than `settings.register_message_bytes`; nothing was registered.
            StorageUnavailable: no answer within `settings.redis_retry` or *timeout_seconds*, or Redis refuses. If its
                `is_uncertain` is true, the requests may or may not be registered, or may still be; if it is false,
                nothing was registered.
        """
        check_handler(handler)
        if not requests:
            return Receipts([], {}, {})
        if len(requests) > settings.register_limit:
            raise QueueFull(
                f"{len(requests)} requests in one call are more than QUEUE_REGISTER_LIMIT = {settings.register_limit}: "
                + IN_PARTS
            )
        if isinstance(delay_seconds, timedelta):
            raise ValueError(f"delay_seconds is {delay_seconds!r}: give its total_seconds()")
        if not 0 <= delay_seconds <= LONGEST_DELAY_SECONDS:
            raise ValueError(f"delay_seconds is {delay_seconds!r}: from 0 to {LONGEST_DELAY_SECONDS} (ten years)")
        if timeout_seconds is not None and not 0 < timeout_seconds <= LONGEST_TIMEOUT_SECONDS:
            raise ValueError(f"timeout_seconds is {timeout_seconds!r}: above 0, up to {LONGEST_TIMEOUT_SECONDS}")
        how = _How(delay_seconds, window_of(handler, deduplicate_seconds), timeout_seconds)
        register = partial(self._register, handler, requests, how, identities)
        if not tracing.is_on():
            return await around.through(self._layers, handler, requests, headers or {}, register)
        with tracing.registering(handler.name, len(requests), headers) as carried:
            return await around.through(self._layers, handler, requests, carried or {}, register)

    async def _register(
        self,
        handler: type[Handler],
        requests: tuple[Any, ...],
        how: "_How",
        named: Sequence[str] | None,
        headers: Mapping[str, str],
    ) -> Receipts:
        bodies = handler.serializer().encode_all(requests)
        identities = identities_of(handler, requests, bodies, named) if how.window_seconds else []
        if headers:
            bodies = [pack(body, headers) for body in bodies]
        _check_sizes(handler, bodies)
        routes = await routes_of(handler, requests)
        tubes: dict[Any, Tube] = {}
        firsts: dict[Tube, int] = {}
        duplicates: dict[tuple[Tube, int], Receipt] = {}
        for shard, part in partition(handler, routes, bodies, identities).items():
            tube_of, registered = await self._append(handler, shard, part, how)
            tubes.update(tube_of)
            distinct = list(dict.fromkeys(tube_of.values()))
            firsts.update(zip(distinct, registered.firsts, strict=True))
            duplicates.update(duplicate_receipts(shard, distinct, registered.duplicates))
        return Receipts(routes, tubes, firsts, duplicates)

    async def _append(
        self, handler: type[Handler], shard: Shard, part: Partition, how: "_How"
    ) -> tuple[Mapping[Any, Tube], Registered]:
        """
        Register what goes to one shard; returns the tube of each route. Only the storage knows the layout in force: it
        refuses a wrong guess and answers with the right one, which may have changed again by the next try.
        """
        while True:
            layout = self._layout(handler, shard)
            tubes = part.tubes(shard, layout)
            entries = part.entries(tubes)
            _check_priorities(handler, entries)
            registration = Registration(entries, handler.capacity, how.delay_seconds, layout, how.window_seconds)
            try:
                return tubes, await self.storage.register(shard, registration, seconds=how.timeout_seconds)
            except LayoutChanged as changed:
                self.storage.layouts[shard] = changed.layout

    def _layout(self, handler: type[Handler], shard: Shard) -> Layout | None:
        if handler.threads is None:
            return None
        return self.storage.layouts.get(shard) or Layout(1, handler.threads)

    async def schedule(
        self,
        handler: type[Handler[R]],
        request: R,
        *,
        name: str,
        every_seconds: float | None = None,
        cron: str | None = None,
        timezone: str | None = None,
        headers: Mapping[str, str] | None = None,
        skip_if_waiting: bool = False,
    ) -> datetime:
        """
        Register *request* again and again: at an interval of *every_seconds*, or at the times of *cron*, a line of five
        fields, in *timezone* (UTC by default; `Timing` says what happens where clocks change). Returns when it occurs
        next.

        *name* identifies the schedule within its handler: a schedule replaces the one with its name. While the timing
        stays the same, so does the next occurrence, so every process may declare its schedules when it starts. With
        another timing, the first occurrence is one interval from now. The request is routed once, now.

        Each occurrence is registered exactly once, however many workers run. At its time it joins the tail of its tube
        like a delayed request, even if the tube is full; duplicates are not looked for. If no worker ran for a while,
        one missed occurrence is registered, not each of them.

        *skip_if_waiting*: an occurrence is left out while the one before still waits: in its tube, in a worker's hands,
        or for a retry. By default none is left out, so a handler slower than its interval falls behind.

        Raises:
            RouteError, SerializationError: as in `register`.
            StorageUnavailable: no answer within `settings.redis_retry`; the schedule may or may not be there.
            ValueError: the name, the interval, the cron line or the time zone makes no sense.
        """
        check_handler(handler)
        if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH or not name.isprintable():
            raise ValueError(f"name is {name!r:.80}: give 1 to {NAME_LENGTH} printable characters")
        when = timing.given(every_seconds, cron, timezone)
        bodies = [pack(body, headers) for body in handler.serializer().encode_all((request,))]
        _check_sizes(handler, bodies)
        routes = await routes_of(handler, (request,))
        ((home, part),) = partition(handler, routes, bodies, []).items()
        layout = self._layout(handler, home)
        (tube,) = part.tubes(home, layout).values()
        others = [shard for shard in handler.all_shards() if shard != home]
        for shard in others:  # the previous declaration may have been routed there
            await self.storage.unschedule(shard, name)
        schedule = Schedule(name, when, tube.thread, tube.priority, part.bodies[0], skip_if_waiting)
        next_ms = await self.storage.schedule(home, schedule, layout)
        await self._keep_one(schedule, home, others, layout)
        return datetime.fromtimestamp(next_ms / 1000, UTC)

    async def _keep_one(self, schedule: Schedule, home: Shard, others: Sequence[Shard], layout: Layout | None) -> None:
        """
        Two producers that declare one name at the same time, as two releases with different routes do, may each have
        put it into a shard of its own. Both check after they wrote, and the one in the first shard stays.
        """
        elsewhere = [shard for shard in others if await self.storage.has_schedule(shard, schedule.name)]
        if any(shard.number < home.number for shard in elsewhere):
            await self.storage.unschedule(home, schedule.name)
        elif elsewhere:
            for shard in elsewhere:
                await self.storage.unschedule(shard, schedule.name)
            await self.storage.schedule(
                home, schedule, layout
            )  # the other producer may have removed it before it put its own

    async def schedules(self, handler: type[Handler]) -> list[Upcoming]:
        """The schedules of a handler, the next to occur first."""
        check_handler(handler)
        found = [schedule for shard in handler.all_shards() for schedule in await self.storage.schedules(shard)]
        return sorted(found, key=lambda schedule: schedule.next_ms)

    async def unschedule(self, handler: type[Handler], name: str) -> bool:
        """Remove a schedule; returns whether there was one. Occurrences already registered stay in their tubes."""
        check_handler(handler)
        return any([await self.storage.unschedule(shard, name) for shard in handler.all_shards()])

    async def delayed(self, handler: type[Handler], count: int = 100) -> list[Delayed]:
        """Delayed requests of a handler, at most *count*, the next one due first."""
        check_handler(handler)
        found = [each for shard in handler.all_shards() for each in await self.storage.delayed(shard, count)]
        return sorted(found, key=lambda each: (each.due_ms, each.sequence))[:count]

    async def cancel(self, *requests: Receipt | Delayed) -> list[Receipt | Delayed]:
        """
        Cancel delayed requests, given by their receipts or as `delayed` lists them. Returns those that are cancelled,
        by this call or by one within the last ten minutes. A request that has joined its tube by now, or was handled,
        is not among them. The identity of a cancelled request keeps no others out any more.
        """
        cancelled: set[tuple[Shard, int]] = set()
        for shard in dict.fromkeys(request.tube.shard for request in requests):
            numbers = [request.sequence for request in requests if request.tube.shard == shard]
            async for step in in_steps(numbers, partial(self.storage.cancel, shard)):
                cancelled.update((shard, number) for number in step)
        return [request for request in requests if (request.tube.shard, request.sequence) in cancelled]

    async def reshard(self, handler: type[Handler], threads: int) -> list[Resharded]:
        """
        Spread the keys of a handler over another number of threads, without reordering: a thread of the new layout
        waits until the old threads that it shares keys with are drained. Returns one answer per shard of the handler.

        Raises:
            ReshardError: the previous change is not finished; try again later. Calling again is harmless, even if some
                of several shards have changed already.
            RouteError: the handler's routes name threads, not keys.
            ValueError: *threads* is out of bounds, or not a multiple of the handler's shards.
        """
        check_handler(handler)
        if handler.threads is None:
            raise RouteError(f"{handler.name} does not route by key: it declares no `threads`")
        if fault := threads_fault(threads, handler.shards):
            raise ValueError(f"threads is {fault}")
        return [await self.storage.reshard(shard, threads) for shard in handler.all_shards()]


class _How(NamedTuple):
    """What a call of `register` says of all its requests."""

    delay_seconds: float
    window_seconds: float
    timeout_seconds: float | None


def _check_sizes(handler: type[Handler], bodies: Sequence[bytes]) -> None:
    """
    Refuse what a worker could not read in one go, or would keep Redis for long.

    Raises:
        QueueFull: all requests together are too large.
        SerializationError: a request is too large.
    """
    sizes = list(map(len, bodies))
    if (size := max(sizes)) > settings.register_message_bytes:
        index = sizes.index(size)
        raise SerializationError(
            f"request {index} for {handler.name} has {size:,} bytes, its headers included: more than "
            f"QUEUE_REGISTER_MESSAGE_BYTES = {settings.register_message_bytes:,}; keep it elsewhere and register its "
            "address, or raise the limit"
        )
    if len(bodies) > 1 and (together := sum(sizes)) > CALL_BYTES:
        raise QueueFull(
            f"{len(bodies)} requests in one call have {together:,} bytes, more than {CALL_BYTES:,}: {IN_PARTS}"
        )


def _check_priorities(handler: type[Handler], entries: Sequence[Entry]) -> None:
    """
    Raises:
        RouteError: a thread would get more priorities than it may ever have.
    """
    for thread, count in Counter(entry.thread for entry in entries).items():
        if count > MOST_PRIORITIES:
            raise RouteError(
                f"{handler.name}.route gives thread {printable(thread)} {count} priorities in one call, more than the "
                f"{MOST_PRIORITIES} that a thread may have: use fewer priorities, or more threads"
            )
