"""
For your own tests: everything in memory, no waiting, and a clock that stands still.

Handlers run as in a worker, with its batches, retries and dead letters. But one batch runs at a time, and what a worker
would wait for is skipped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple, Self

from sharded_queue import tracing
from sharded_queue.backends.memory.coordinator import RuntimeCoordinator
from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.backends.memory.storage import RuntimeStorage, wall_ms
from sharded_queue.context import sharing
from sharded_queue.coordinator import BindRequest
from sharded_queue.errors import SerializationError
from sharded_queue.handler import Handler, ageing_of, find
from sharded_queue.lease import Lease, clock
from sharded_queue.queue.middleware import Middleware, around_calls
from sharded_queue.queue.queue import Queue
from sharded_queue.serializer import STAMP_DIGITS, unpack
from sharded_queue.state import SNOOZED
from sharded_queue.storage import Batch, Entry, Failure, Registered, Registration, Schedule, Settled, Settlement
from sharded_queue.tube import Layout, Shard
from sharded_queue.worker.batch_fit import BatchFits
from sharded_queue.worker.lane import Lane
from sharded_queue.worker.latency import Latency
from sharded_queue.worker.quota import Quota
from sharded_queue.worker.slots import Slots
from sharded_queue.worker.suspects import Suspects
from sharded_queue.worker.task_pool import TaskPool

OWNER = "sandbox/1"
LEASE_SECONDS = 1e9
NO_STAMP = b"0" * STAMP_DIGITS


class Recorded(NamedTuple):
    """A request as it was registered."""

    request: Any
    thread: str
    priority: int
    delay_seconds: float
    headers: Mapping[str, str]


class DeadLetter(NamedTuple):
    """A request that was given up; if it cannot be read, its message as bytes."""

    request: Any
    thread: str
    priority: int
    attempts: int
    error: str


class Sandbox:
    """
    A queue in memory, and a worker that runs when you call `run`.

    Give `queue` to the code under test. The clock moves only by `advance`, and to the ends of back-offs during `run`.

    *middleware* is around what is registered and handled here. Handlers get *shared* by `sharded_queue.shared`, as they
    get from a worker what its lifespan yielded.
    """

    def __init__(self, *, middleware: Sequence[Middleware] = (), shared: object = None) -> None:
        self._now_ms = wall_ms()
        self.storage = RecordingStorage(lambda: self._now_ms)
        self.queue = Queue(self.storage, middleware=middleware)
        self._shared, self.fits = shared, BatchFits()
        self._coordinator = RuntimeCoordinator()
        self._coordinator.attach(self.storage)

    def registered(self, handler: type[Handler]) -> list[Recorded]:
        """All requests ever registered with *handler*, handled or not, in their order, without duplicates."""
        return [
            _recorded(handler, entry, body, delay_seconds)
            for shard, entry, body, delay_seconds in self.storage.registrations
            if shard.handler == handler.name
        ]

    async def run(self, *, raises: bool = True) -> int:
        """
        Handle requests until none is left that may be handled now; returns how many were handled.

        What a handler raises is raised here. Its thread is put off as by a worker, and another `run` goes on. Without
        *raises*, requests are tried until they are handled or exhausted, and no back-off is waited for. Delayed
        requests wait for `advance`, and so do requests that snooze.
        """
        host = _Host(self)
        with sharing(self._shared):
            while (batch := await self._bind()) or self._skip_back_off():
                if batch:
                    lane = _Lane(host, find(batch.tube.shard.handler), batch, deadline=inf, linger_seconds=0)
                    await lane.serve()
                    if raises and lane.errors:
                        raise lane.errors[-1]
        return host.count

    def advance(self, seconds: float) -> None:
        """
        Let time pass: delayed requests and schedules become due, and deduplication windows end.

        A schedule that became due several times occurs once, as if no worker had run meanwhile.
        """
        if seconds < 0:
            raise ValueError(f"advance by {seconds!r} s: time only goes forward")
        self._now_ms += round(seconds * 1000)

    async def depth(self, handler: type[Handler]) -> int:
        """Requests not handled yet, delayed ones included."""
        states = await self.storage.observe(handler.all_shards(), 0)
        return sum(state.depth + state.delayed for state in states)

    async def dead(self, handler: type[Handler]) -> list[DeadLetter]:
        """The dead letters of *handler*, in the order of their deaths."""
        letters = [letter for shard in handler.all_shards() for letter in await self.storage.dead(shard, 1_000_000)]
        return [
            DeadLetter(
                _readable(handler, letter.message), letter.thread, letter.priority, letter.attempts, letter.error
            )
            for letter in sorted(letters, key=lambda letter: (letter.died_ms, letter.number))
        ]

    async def exhausted(self, handler: type[Handler]) -> list[str]:
        """The threads of *handler* that stand still for a request without tries."""
        pages = [await self.storage.exhausted(shard) for shard in handler.all_shards()]
        return [each.thread for found, _ in pages for each in found]

    async def _bind(self) -> Batch | None:
        for shard in self.storage.used_shards:
            await self.storage.register_due(shard)
            ageing, wanted = ageing_of(find(shard.handler)), self.fits.size(find(shard.handler))
            bound = await self._coordinator.bind(shard, BindRequest(OWNER, 1, wanted, LEASE_SECONDS, ageing))
            if bound.batches:
                return bound.batches[0]
        return None

    def _skip_back_off(self) -> bool:
        """Move the clock to the end of the next back-off, if there is one."""
        shards = [self.storage.shards[shard] for shard in self.storage.used_shards]
        end = min((end for shard in shards for end in _back_offs(shard)), default=inf)
        if end == inf:
            return False
        self._now_ms = max(self._now_ms, int(end))
        return True


def _back_offs(shard: MemoryShard) -> Iterator[float]:
    """When the threads go on that back off. One that snoozes waits for `advance`, an exhausted one for a person."""
    snoozing = {thread for (thread, _), record in shard.failures.items() if record.error.startswith(SNOOZED)}
    waiting = snoozing | shard.exhausted.keys()
    return (end for thread, end in shard.blocked.lowest(len(shard.blocked)) if thread not in waiting)


class RecordingStorage(RuntimeStorage):
    """Remembers what was registered."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__(clock)
        self.registrations: list[tuple[Shard, Entry, bytes, float]] = []
        self._scheduled: list[Shard] = []

    @property
    def used_shards(self) -> list[Shard]:
        """The shards that anything was registered or scheduled in."""
        return list(dict.fromkeys([*(shard for shard, *_ in self.registrations), *self._scheduled]))

    async def register(self, shard: Shard, registration: Registration, *, seconds: float | None = None) -> Registered:
        registered = await super().register(shard, registration)
        self.registrations += [
            (shard, entry, body, registration.delay_seconds)
            for nth, entry in enumerate(registration.entries)
            for index, body in enumerate(entry.bodies)
            if (nth, index) not in registered.duplicates
        ]
        return registered

    async def schedule(self, shard: Shard, schedule: Schedule, layout: Layout | None = None) -> int:
        self._scheduled.append(shard)
        return await super().schedule(shard, schedule, layout)

    async def register_due(self, shard: Shard) -> float | None:
        due, before = await self.schedules(shard), dict(self.shards[shard].last_occurrences)
        seconds = await super().register_due(shard)
        last = self.shards[shard].last_occurrences
        self.registrations += [
            (shard, Entry(each.thread, each.priority, [each.body]), each.body, 0.0)
            for each in due
            if before.get(each.name) != last.get(each.name)
        ]
        return seconds


class _Lane(Lane):
    """Keeps the errors that its handler raised."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.errors: list[BaseException] = []
        super().__init__(*given, **named)

    def failure(self, batch: Batch, attempt: int, error: BaseException, delay: float | None) -> Failure:
        self.errors.append(error)
        return super().failure(batch, attempt, error, delay)


class _Host:
    """What a lane needs of its worker: this one has room for any batch, and frees a drained thread."""

    is_measured = False
    lanes: tuple[Lane, ...] = ()

    def __init__(self, sandbox: Sandbox) -> None:
        self.storage, self.coordinator, self.count = sandbox.storage, sandbox._coordinator, 0
        self.is_traced, self.clock, self.slots = tracing.is_on(), clock, Slots(TaskPool())
        self.quota, self.fits, self.suspects = Quota(), sandbox.fits, Suspects(self)
        self.call = around_calls(sandbox.queue.middleware)

    @property
    def tally(self) -> Self:
        return self

    @property
    def ledger(self) -> Self:
        return self

    def reserve(self, handler: type[Handler]) -> int:
        return self.fits.size(handler)

    def handled(self, count: int, seconds: float) -> None:
        self.count += count

    def latency(self, handler: type[Handler]) -> Latency:
        return Latency()

    def failed(self, handler: type[Handler]) -> None: ...

    def called(self, handler: type[Handler], seconds: float, error: BaseException | None) -> None: ...

    def started(self, handler: type[Handler]) -> None: ...

    def is_known_failure(self, handler: type[Handler], error: str) -> bool:
        return False

    def is_leaving(self) -> bool:
        return True

    async def must_yield(self, lease: Lease) -> bool:
        return False

    def drained(self, lane: Lane) -> None: ...

    def resumed(self, lane: Lane) -> None: ...

    async def settle(self, settlement: Settlement) -> Settled:
        (settled,) = await self.storage.settle([settlement])
        return settled

    async def fail(self, failure: Failure) -> bool:
        return await self.storage.fail(failure)

    async def release(self, lease: Lease, delay_seconds: float = 0.0) -> None:
        await self.coordinator.release([lease], delay_seconds)

    async def isolate(self, lease: Lease, is_alone: bool, call: int) -> bool:
        return await self.coordinator.isolate(lease, is_alone, call)

    def bind_again(self) -> None: ...


def _recorded(handler: type[Handler], entry: Entry, body: bytes, delay_seconds: float) -> Recorded:
    message = unpack(NO_STAMP + body)
    request = handler.serializer().decode_one(message.body)
    return Recorded(request, entry.thread, entry.priority, delay_seconds, message.headers)


def _readable(handler: type[Handler], message: bytes) -> Any:
    try:
        return handler.serializer().decode_one(unpack(message).body)
    except SerializationError:
        return message
