"""The registering side: routes requests into tubes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sharded_queue import timing, tracing
from sharded_queue.errors import QueueFull, RouteError, SerializationError
from sharded_queue.handler import Handler
from sharded_queue.queue.deduplication import duplicate_receipts, identities_of, window_of
from sharded_queue.queue.partition import Partition, partition, routes_of
from sharded_queue.queue.receipts import Receipt, Receipts
from sharded_queue.serializer import pack
from sharded_queue.settings import settings
from sharded_queue.state import Delayed, Upcoming
from sharded_queue.storage import LayoutChanged, Registered, Registration, Resharded, Schedule, Storage
from sharded_queue.tube import Layout, Shard, Tube, threads_fault

LONGEST_DELAY_SECONDS = 315_360_000
NAME_LENGTH = 200


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
        deduplicate_seconds: float | None = None,
        identities: Sequence[str] | None = None,
    ) -> Receipts:
        """
        Put requests into their tubes, all or nothing (per shard, where the handler has several); a receipt for each,
        in the order given. Requests of one tube keep that order.

        *headers* travel with every request and are seen in the handler's context; OpenTelemetry, where it is installed
        and set up, adds its own. With *delay_seconds*, the requests
        take their places in their tubes when so much time has passed, behind those that wait there then; until then
        they stop nobody, and their receipts' numbers are those of the registration.

        *deduplicate_seconds* (None: what the handler says): a request whose `Handler.identity` was registered within
        the window of an earlier request is left out, handled or not; its receipt names that one. The window begins with
        the registration, by the storage's clock; a duplicate prolongs nothing and needs no room in its tube.
        *identities*: one per request, in place of what `Handler.identity` says.

        Raises:
            HandlerError: `identity` gave something that is no text; nothing was registered.
            QueueFull: no room; nothing was registered.
            RouteError: `route` did not give a usable route per request; nothing was registered.
            SerializationError: a request cannot be encoded, or is larger than `settings.register_message_bytes`;
                nothing was registered.
            StorageUnavailable: no answer within `settings.redis_retry`; the requests may or may not be registered.
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
        if not tracing.is_on():
            return await self._register(handler, requests, headers, delay_seconds, window, identities)
        with tracing.registering(handler.name, len(requests), headers) as carried:
            return await self._register(handler, requests, carried, delay_seconds, window, identities)

    async def _register(
        self,
        handler: type[Handler],
        requests: tuple[Any, ...],
        headers: Mapping[str, str] | None,
        delay_seconds: float,
        window: float,
        named: Sequence[str] | None,
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
        Register what goes to one shard; the tube of each route. Which layout is in force is known only once the storage
        has agreed: a guess that it refuses comes back with the right one, which may have been changed again meanwhile.
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
        handler: type[Handler],
        request: Any,
        *,
        name: str,
        every_seconds: float | None = None,
        cron: str | None = None,
        timezone: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> datetime:
        """
        Register *request* again and again: every so many seconds, or as a cron line of five fields says in a *timezone*
        (UTC by default; what happens where clocks are changed is told in `Timing`). Returns when it occurs next.

        *name* is the schedule's own among those of its handler: one of the same name is replaced. While the timing is
        the same, the next occurrence stays when it was, so every process may say at its start what it wants; otherwise
        the first occurrence is one interval from now. The request is routed once, now.

        Each occurrence is registered exactly once, however many workers live, and joins the tail of its tube at its
        time like a delayed request, also where the tube is full; duplicates are not looked for. What occurred while no
        worker lived is caught up once, not as often as it was missed.

        Raises:
            RouteError, SerializationError: as in `register`.
            StorageUnavailable: no answer within `settings.redis_retry`; the schedule may or may not be there.
            ValueError: the name, the interval, the cron line or the time zone makes no sense.
        """
        if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH or not name.isprintable():
            raise ValueError(f"name is {name!r:.80}: a text of 1 to {NAME_LENGTH} printable characters is wanted")
        when = _timing(every_seconds, cron, timezone)
        bodies = [pack(body, headers) for body in handler.serializer().encode_all((request,))]
        _check_sizes(handler, bodies)
        routes = await routes_of(handler, (request,))
        ((home, part),) = partition(handler, routes, bodies, []).items()
        layout = self._layout(handler, home)
        (tube,) = part.tubes(home, layout).values()
        others = [shard for shard in handler.all_shards() if shard != home]
        for shard in others:  # where its last request may have been routed to
            await self.storage.unschedule(shard, name)
        schedule = Schedule(name, when, tube.thread, tube.priority, part.bodies[0])
        next_ms = await self.storage.schedule(home, schedule, layout)
        await self._keep_one(schedule, home, others, layout)
        return datetime.fromtimestamp(next_ms / 1000, UTC)

    async def _keep_one(self, schedule: Schedule, home: Shard, others: Sequence[Shard], layout: Layout | None) -> None:
        """
        Two that say one name at the same time, as two releases with different routes do, may each have put it into a
        shard of its own: both see so after they did, and the one of the first shard stays.
        """
        doubles = [shard for shard in others if await self.storage.has_schedule(shard, schedule.name)]
        if any(shard.number < home.number for shard in doubles):
            await self.storage.unschedule(home, schedule.name)
        elif doubles:
            for shard in doubles:
                await self.storage.unschedule(shard, schedule.name)
            await self.storage.schedule(home, schedule, layout)  # the other may have removed it before it put its own

    async def schedules(self, handler: type[Handler]) -> list[Upcoming]:
        """The schedules of a handler, the next to occur first."""
        found = [schedule for shard in handler.all_shards() for schedule in await self.storage.schedules(shard)]
        return sorted(found, key=lambda schedule: schedule.next_ms)

    async def unschedule(self, handler: type[Handler], name: str) -> bool:
        """Remove a schedule; whether there was one. What has occurred already stays in its tube."""
        return any([await self.storage.unschedule(shard, name) for shard in handler.all_shards()])

    async def delayed(self, handler: type[Handler], count: int = 100) -> list[Delayed]:
        """Requests of a handler that wait for their time, the next to be due first, and at most *count*."""
        found = [each for shard in handler.all_shards() for each in await self.storage.delayed(shard, count)]
        return sorted(found, key=lambda each: (each.due_ms, each.sequence))[:count]

    async def cancel(self, *requests: Receipt | Delayed) -> list[Receipt | Delayed]:
        """
        Cancel delayed requests, by their receipts or as `delayed` lists them; returns those that were cancelled, now or
        by an earlier call of at most ten minutes ago. Not among them: what has taken its place in its tube by now, or
        was handled. The identity of a cancelled request still keeps others out for its window.
        """
        cancelled: set[tuple[Shard, int]] = set()
        for shard in dict.fromkeys(request.tube.shard for request in requests):
            numbers = [request.sequence for request in requests if request.tube.shard == shard]
            cancelled.update((shard, number) for number in await self.storage.cancel(shard, numbers))
        return [request for request in requests if (request.tube.shard, request.sequence) in cancelled]

    async def reshard(self, handler: type[Handler], threads: int) -> list[Resharded]:
        """
        Spread the keys of a handler over another number of threads, without reordering: a thread of the new layout
        waits until those of the old one that it shares keys with are drained. One answer a shard of the handler.

        Raises:
            ReshardError: the change before is not finished: try again later. Calling again is harmless also when some
                of several shards were changed already.
            RouteError: the handler's routes name threads, not keys.
            ValueError: *threads* is out of bounds, or no multiple of the handler's shards.
        """
        if handler.threads is None:
            raise RouteError(f"{handler.name} does not route by key: it declares no `threads`")
        if fault := threads_fault(threads, handler.shards):
            raise ValueError(f"threads is {fault}")
        return [await self.storage.reshard(shard, threads) for shard in handler.all_shards()]


def _timing(every_seconds: float | None, cron: str | None, timezone: str | None) -> timing.Timing:
    if (every_seconds is None) == (cron is None):
        raise ValueError("a schedule has either every_seconds or cron")
    if cron is not None:
        return timing.by_cron(cron, timezone or "UTC")
    if timezone is not None:
        raise ValueError(f"timezone is {timezone!r}, but an interval has none: only cron lines do")
    return timing.every(every_seconds)


def _check_sizes(handler: type[Handler], bodies: Sequence[bytes]) -> None:
    """
    What a worker could not read in one go is not registered.

    Raises:
        SerializationError: a request is too large.
    """
    if (size := max(map(len, bodies))) > settings.register_message_bytes:
        place = next(place for place, body in enumerate(bodies) if len(body) == size)
        raise SerializationError(
            f"request {place} for {handler.name} has {size:,} bytes, its headers included: more than "
            f"QUEUE_REGISTER_MESSAGE_BYTES = {settings.register_message_bytes:,}; keep it elsewhere and register its "
            "address, or raise the bound"
        )
