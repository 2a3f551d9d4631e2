"""
OpenTelemetry metrics, beside the spans of `tracing` and the metrics for Prometheus. Nothing happens unless its API is
installed, and what is measured is read only when the program has set a provider.

Counters are read from what workers count anyway when an exporter asks for them. Only the duration of a call is
recorded as it happens, and only while there is a provider.
"""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from itertools import groupby
from typing import Any, Protocol

from sharded_queue.errors import StorageUnavailable
from sharded_queue.state import ShardState
from sharded_queue.storage import Storage, observe_readable
from sharded_queue.tracing import SYSTEM
from sharded_queue.tube import Shard

try:
    from opentelemetry import metrics
except ModuleNotFoundError:
    meter = None
else:
    meter = metrics.get_meter("sharded_queue")

READ_SECONDS = 15.0
"""How often a worker reads depth and lag of its handlers: one round trip to Redis."""

COUNTERS = {
    "handled": ("{request}", "Requests handled and settled"),
    "batches": ("{batch}", "Batches handled and settled"),
    "failed": ("{call}", "Calls of a handler that raised"),
    "busy_seconds": ("s", "Time in handlers, of settled batches"),
    "bound": ("{thread}", "Threads bound"),
    "lost": ("{lease}", "Threads lost while they were held"),
}
"""By the field of a worker's statistics: unit and meaning."""

NAMES = {"failed": "failures", "busy_seconds": "busy_time", "bound": "binds", "lost": "lost_leases"}

_past = dict.fromkeys(COUNTERS, 0.0)
"""What workers did that no longer exist: a counter never falls."""


class Measured(Protocol):
    """What a worker has that is measured."""

    @property
    def stats(self) -> Any: ...

    @property
    def lanes(self) -> Collection[object]: ...


class Telemetry:
    """What one worker reports. *shards*: those of its handlers."""

    def __init__(self, worker: Measured, storage: Storage, shards: Callable[[], Sequence[Shard]]) -> None:
        self._storage, self._shards = storage, shards
        self.states: Sequence[ShardState] = ()
        """Of the last reading; empty while Redis does not answer, because unknown is not zero."""
        self.is_on = False
        """Whether metrics go anywhere."""
        if meter:
            _workers.add(worker)
            weakref.finalize(worker, _keep, worker.stats)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        if not meter:
            yield
            return
        self._look()
        reading = asyncio.create_task(self._read())
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            self.states = ()
            _readers.discard(self)

    def called(self, handler: str, seconds: float, error: BaseException | None) -> None:
        """A call of a handler has ended."""
        assert meter
        failed = {"error.type": type(error).__qualname__} if error is not None else {}
        _instruments(meter).record(seconds, {**_of(handler), "messaging.operation.name": "handle", **failed})

    def _look(self) -> None:
        """A provider may be set at any time."""
        assert meter
        self.is_on = is_on()
        if self.is_on:
            _instruments(meter)
            _readers.add(self)

    async def _read(self) -> None:
        while True:
            self._look()
            if self.is_on:
                try:
                    self.states, _ = await observe_readable(self._storage, self._shards(), 0)
                except StorageUnavailable:
                    self.states = ()
            await asyncio.sleep(READ_SECONDS)


_workers: "weakref.WeakSet[Measured]" = weakref.WeakSet()
_readers: "weakref.WeakSet[Telemetry]" = weakref.WeakSet()


def is_on() -> bool:
    """Whether the API is installed and the program has set a provider; the API's own stand-in is private to it."""
    return meter is not None and type(metrics.get_meter_provider()).__name__ != "_ProxyMeterProvider"


@cache
def _instruments(meter: "metrics.Meter") -> "metrics.Histogram":
    """Make the instruments, once; returns the one that is recorded to."""
    for field, (unit, text) in COUNTERS.items():
        name = f"sharded_queue.worker.{NAMES.get(field, field)}"
        meter.create_observable_counter(name, [_counted(field)], unit, text)
    meter.create_observable_up_down_counter(
        "sharded_queue.worker.bound_threads", [_held], "{thread}", "Threads held now"
    )
    meter.create_observable_gauge(
        "sharded_queue.handler.depth", [_per_handler(_depth)], "{request}", "Requests not settled yet"
    )
    meter.create_observable_gauge("sharded_queue.handler.lag", [_per_handler(_lag)], "s", "Age of the oldest request")
    return meter.create_histogram("messaging.process.duration", "s", "Duration of one call of a handler")


def _counted(field: str) -> Callable[[object], Iterable["metrics.Observation"]]:
    def observe(_: object) -> Iterable["metrics.Observation"]:
        yield metrics.Observation(_past[field] + sum(getattr(worker.stats, field) for worker in list(_workers)))

    return observe


def _held(_: object) -> Iterable["metrics.Observation"]:
    yield metrics.Observation(sum(len(worker.lanes) for worker in list(_workers)))


def _per_handler(
    quantity: Callable[[Sequence[ShardState]], float],
) -> Callable[[object], Iterable["metrics.Observation"]]:
    """Workers of one process that serve the same handler read the same."""

    def observe(_: object) -> Iterable["metrics.Observation"]:
        found: dict[str, float] = {}
        for reader in list(_readers):
            for handler, shards in groupby(reader.states, key=lambda state: state.shard.handler):
                found[handler] = quantity(list(shards))
        for handler, value in found.items():
            yield metrics.Observation(value, _of(handler))

    return observe


def _depth(shards: Sequence[ShardState]) -> float:
    return sum(state.depth for state in shards)


def _lag(shards: Sequence[ShardState]) -> float:
    return max(state.lag_seconds for state in shards)


def _of(handler: str) -> Mapping[str, str]:
    return {"messaging.system": SYSTEM, "messaging.destination.name": handler}


def _keep(stats: Any) -> None:
    for field in COUNTERS:
        _past[field] += getattr(stats, field)
