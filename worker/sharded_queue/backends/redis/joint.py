"""
Registrations that are sent together.

A call of `register` costs Redis some 50 us however little it registers, and 10 us more for each further thread. Web
programs register one request a call, many at a time. So a small registration that comes while AT_ONCE of its kind are
under way waits for the first of them to end, and goes in one call with all that wait beside it. A producer that is
alone never waits; behind many the rate is that of a registration in bulk.

    registration ──▶ less than AT_ONCE under way ──▶ sent by itself
                └──▶ waits ──▶ joined with those that wait ──▶ sent as one ──▶ refused? each by itself, in order

Callers share the round trip and nothing else: a refusal is answered by a call for each, so that the error of one is
not that of another, and the time limit of each stays its own.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass

from sharded_queue.errors import QueueFull, StorageUnavailable
from sharded_queue.settings import settings
from sharded_queue.storage import Entry, First, Registered, Registration, uncertain_registration
from sharded_queue.tube import Layout, Shard

AT_ONCE = 2
"""Small registrations of a shard under way, with the same limits, before further ones wait to be joined."""
SMALL_REQUESTS, SMALL_BYTES = 16, 65_536
"""The largest registration that is joined with others: a larger one gains little, and would hold them up."""
JOINED_REQUESTS, JOINED_BYTES = 256, 262_144
"""The most that is sent as one: 4 ms of Redis where each request is the first of a thread."""

Send = Callable[[Shard, Registration, float | None], Awaitable[Registered]]
Line = tuple[Shard, int | None, float, Layout | None, float]
"""What registrations have in common that may be joined: shard and limits."""
Place = tuple[int, int, int]
"""Where the requests of an entry are in what is sent: index of the entry there, index of the first of them, count."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A registration that waits to be sent with others; *until*, by the event loop's clock, its caller waits."""

    registration: Registration
    until: float | None
    answer: asyncio.Future[Registered]
    is_sent: bool = False


class Joint:
    """Sends registrations by *send*, small ones together where many come at once."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._under_way: Counter[Line] = Counter()
        self._waiting: dict[Line, deque[Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def register(self, shard: Shard, registration: Registration, until: float | None) -> Registered:
        """
        Raises:
            StorageUnavailable, QueueFull, LayoutChanged: as *send*, for this registration alone.
        """
        if not _is_small(registration):
            return await self._send(shard, registration, until)
        line: Line = (shard, *registration[1:])
        if self._under_way[line] >= AT_ONCE:
            return await self._wait(line, registration, until)
        self._under_way[line] += 1
        try:
            return await self._send(shard, registration, until)
        finally:
            self._go_on(line)

    async def _wait(self, line: Line, registration: Registration, until: float | None) -> Registered:
        loop = asyncio.get_running_loop()
        began = loop.time()
        waiting = Waiting(registration, until, loop.create_future())
        self._waiting.setdefault(line, deque()).append(waiting)
        try:
            async with asyncio.timeout_at(began + settings.redis_retry if until is None else until):
                return await waiting.answer
        except TimeoutError:
            seconds = f"{loop.time() - began:.3g} s"
            if waiting.is_sent:
                raise uncertain_registration(f"no answer of Redis in {seconds}") from None
            raise StorageUnavailable(f"Redis answered no earlier registration in {seconds}") from None

    def _go_on(self, line: Line) -> None:
        """One of those under way has ended: send what waits, if anything does."""
        if together := self._take(line):
            task = asyncio.create_task(self._send_together(line, together), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        self._under_way[line] -= 1
        if not self._under_way[line]:
            del self._under_way[line]

    def _take(self, line: Line) -> list[Waiting]:
        """The first of those that wait, as many as may be sent together; without those whose callers have gone."""
        waiting = self._waiting.get(line, deque())
        together: list[Waiting] = []
        requests = size = 0
        while waiting:
            first = waiting[0]
            if not first.answer.done():
                requests, size = requests + _count(first.registration), size + _size(first.registration)
                if together and (requests > JOINED_REQUESTS or size > JOINED_BYTES):
                    return together
                first.is_sent = True
                together.append(first)
            waiting.popleft()
        self._waiting.pop(line, None)
        return together

    async def _send_together(self, line: Line, together: Sequence[Waiting]) -> None:
        shard = line[0]
        try:
            await self._answer_all(shard, together)
        except QueueFull:
            for waiting in together:
                await self._answer_alone(shard, waiting)
        except Exception as error:
            for waiting in together:
                _fail(waiting, error)
        finally:
            for waiting in together:
                waiting.answer.cancel()  # the event loop ends: nobody answers any more
            self._go_on(line)

    async def _answer_all(self, shard: Shard, together: Sequence[Waiting]) -> None:
        registration, places = join([waiting.registration for waiting in together])
        untils = [waiting.until for waiting in together if waiting.until is not None]
        registered = await self._send(shard, registration, max(untils) if len(untils) == len(together) else None)
        for waiting, its in zip(together, places, strict=True):
            _answer(waiting, part_of(registered, its))

    async def _answer_alone(self, shard: Shard, waiting: Waiting) -> None:
        if waiting.answer.done():
            return
        try:
            _answer(waiting, await self._send(shard, waiting.registration, waiting.until))
        except Exception as error:
            _fail(waiting, error)


def join(registrations: Sequence[Registration]) -> tuple[Registration, list[list[Place]]]:
    """One registration in place of several with equal limits, an entry a tube; and where the requests of each are."""
    indices: dict[tuple[str, int], int] = {}
    bodies: list[list[bytes]] = []
    identities: list[list[str]] = []
    places: list[list[Place]] = []
    for registration in registrations:
        its: list[Place] = []
        for entry in registration.entries:
            index = indices.setdefault((entry.thread, entry.priority), len(indices))
            if index == len(bodies):
                bodies.append([])
                identities.append([])
            its.append((index, len(bodies[index]), len(entry.bodies)))
            bodies[index] += entry.bodies
            identities[index] += entry.identities
        places.append(its)
    entries = [Entry(*tube, bodies[index], identities[index]) for tube, index in indices.items()]
    return registrations[0]._replace(entries=entries), places


def part_of(registered: Registered, places: Sequence[Place]) -> Registered:
    """What became of the requests at *places*, as if they had been registered by themselves."""
    firsts: list[int] = []
    duplicates: dict[tuple[int, int], First] = {}
    for number, (index, begin, count) in enumerate(places):
        repeated = {place: first for (entry, place), first in registered.duplicates.items() if entry == index}
        earlier = sum(place < begin for place in repeated)
        own = {place - begin: first for place, first in repeated.items() if begin <= place < begin + count}
        firsts.append(registered.firsts[index] + begin - earlier if len(own) < count else 0)
        duplicates |= {(number, place): first for place, first in own.items()}
    return Registered(firsts, duplicates)


def _answer(waiting: Waiting, registered: Registered) -> None:
    if not waiting.answer.done():
        waiting.answer.set_result(registered)


def _fail(waiting: Waiting, error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)


def _is_small(registration: Registration) -> bool:
    return _count(registration) <= SMALL_REQUESTS and _size(registration) <= SMALL_BYTES


def _count(registration: Registration) -> int:
    return sum(len(entry.bodies) for entry in registration.entries)


def _size(registration: Registration) -> int:
    return sum(len(body) for entry in registration.entries for body in entry.bodies)
