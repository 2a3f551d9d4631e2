"""The registering side: `Queue` puts requests into tubes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sharded_queue import timing, tracing
from sharded_queue.errors import QueueFull, RouteError, SerializationError
from sharded_queue.handler import Handler, R
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
    LayoutChanged,
    Registered,
    Registration,
    Resharded,
    Schedule,
    Storage,
)
from sharded_queue.tube import Layout, Shard, Tube, threads_fault

NAME_LENGTH = 200


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

        Raises:
            HandlerError: `identity` returned something other than a str or None; nothing was registered.
            QueueFull: there is no room; nothing was registered.
            RouteError: `route` did not return a usable route per request; nothing was registered.
            SerializationError: a request cannot be encoded, has a field that no worker could read as the annotated
                type, or is larger than `settings.register_message_bytes`; nothing was registered.
            StorageUnavailable: no answer within `settings.redis_retry`, or Redis refuses. If its `is_uncertain` is
                true, the requests may or may not be registered; if it is false, nothing was registered.
        """
        if not requests:
            return Receipts([], {}, {})
        if len(requests) > settings.register_limit:
            raise QueueFull(
                f"{len(requests)} requests in one call are more than QUEUE_REGISTER_LIMIT = {settings.register_limit}: "
                "register them in parts"
            )
        if isinstance(delay_seconds, timedelta):
            raise ValueError(f"delay_seconds is {delay_seconds!r}: give its total_seconds()")
        if not 0 <= delay_seconds <= LONGEST_DELAY_SECONDS:
            raise ValueError(f"delay_seconds is {delay_seconds!r}: from 0 to {LONGEST_DELAY_SECONDS} (ten years)")
        window = window_of(handler, deduplicate_seconds)
        register = partial(self._register, handler, requests, delay_seconds, window, identities)
        if not tracing.is_on():
            return await around.through(self._layers, handler, requests, headers or {}, register)
        with tracing.registering(handler.name, len(requests), headers) as carried:
            return await around.through(self._layers, handler, requests, carried or {}, register)

    async def _register(
        self,
        handler: type[Handler],
        requests: tuple[Any, ...],
        delay_seconds: float,
        window: float,
        named: Sequence[str] | None,
        headers: Mapping[str, str],
    ) -> Receipts:
        bodies = handler.serializer().encode_all(requests)
        identities = identities_of(handler, requests, bodies, named) if window else []
        if headers:
            bodies = [pack(body, headers) for body in bodies]
        _check_sizes(handler, bodies)
        routes = await routes_of(handler, requests)
        tubes: dict[Any, Tube] = {}
        firsts: dict[Tube, int] = {}
        duplicates: dict[tuple[Tube, int], Receipt] = {}
        for shard, part in partition(handler, routes, bodies, identities).items():
            tube_of, registered = await self._append(handler, shard, part, window, delay_seconds)
            tubes.update(tube_of)
            distinct = list(dict.fromkeys(tube_of.values()))
            firsts.update(zip(distinct, registered.firsts, strict=True))
            duplicates.update(duplicate_receipts(shard, distinct, registered.duplicates))
        return Receipts(routes, tubes, firsts, duplicates)

    async def _append(
        self, handler: type[Handler], shard: Shard, part: Partition, window: float, delay_seconds: float
    ) -> tuple[Mapping[Any, Tube], Registered]:
        """
        Register what goes to one shard; returns the tube of each route. Only the storage knows the layout in force: it
        refuses a wrong guess and answers with the right one, which may have changed again by the next try.
        """
        while True:
            layout = self._layout(handler, shard)
            tubes = part.tubes(shard, layout)
            registration = Registration(part.entries(tubes), handler.capacity, delay_seconds, layout, window)
            try:
                return tubes, await self.storage.register(shard, registration)
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

        Raises:
            RouteError, SerializationError: as in `register`.
            StorageUnavailable: no answer within `settings.redis_retry`; the schedule may or may not be there.
            ValueError: the name, the interval, the cron line or the time zone makes no sense.
        """
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
        schedule = Schedule(name, when, tube.thread, tube.priority, part.bodies[0])
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
        found = [schedule for shard in handler.all_shards() for schedule in await self.storage.schedules(shard)]
        return sorted(found, key=lambda schedule: schedule.next_ms)

    async def unschedule(self, handler: type[Handler], name: str) -> bool:
        """Remove a schedule; returns whether there was one. Occurrences already registered stay in their tubes."""
        return any([await self.storage.unschedule(shard, name) for shard in handler.all_shards()])

    async def delayed(self, handler: type[Handler], count: int = 100) -> list[Delayed]:
        """Delayed requests of a handler, at most *count*, the next one due first."""
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
        if handler.threads is None:
            raise RouteError(f"{handler.name} does not route by key: it declares no `threads`")
        if fault := threads_fault(threads, handler.shards):
            raise ValueError(f"threads is {fault}")
        return [await self.storage.reshard(shard, threads) for shard in handler.all_shards()]


def _check_sizes(handler: type[Handler], bodies: Sequence[bytes]) -> None:
    """
    Refuse what a worker could not read in one go.

    Raises:
        SerializationError: a request is too large.
    """
    if (size := max(map(len, bodies))) > settings.register_message_bytes:
        index = next(index for index, body in enumerate(bodies) if len(body) == size)
        raise SerializationError(
            f"request {index} for {handler.name} has {size:,} bytes, its headers included: more than "
            f"QUEUE_REGISTER_MESSAGE_BYTES = {settings.register_message_bytes:,}; keep it elsewhere and register its "
            "address, or raise the limit"
        )
