"""What the calls of a worker's handlers come to: its counters, its telemetry, and the errors that the log has."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharded_queue.handler import Handler
from sharded_queue.worker.batch_fit import BatchFits
from sharded_queue.worker.latency import Latency
from sharded_queue.worker.telemetry import Telemetry


@dataclass(slots=True)
class Stats:
    """What a worker has done since it was created. Counters only grow."""

    handled: int = 0
    batches: int = 0
    failed: int = 0
    busy_seconds: float = 0.0
    bound: int = 0
    lost: int = 0
    stepped_at: float = 0.0
    """Monotonic time of the last finished step of the loop, by which `/livez` knows that the loop moves."""
    latencies: dict[str, Latency] = field(default_factory=dict)
    """By name of handler; a handler without a thread so far is not in it."""


class Tally:
    """What lanes need for their calls (`calls.Host`)."""

    def __init__(
        self,
        call: Callable[[Handler, Sequence[Any]], Awaitable[None]],
        fits: BatchFits,
        stats: Stats,
        telemetry: Telemetry,
    ) -> None:
        self.call, self.fits, self._stats, self._telemetry = call, fits, stats, telemetry
        self.is_traced = False
        self._cannot_start: dict[str, str] = {}
        """The error of each handler whose last start failed."""

    @property
    def is_measured(self) -> bool:
        return self._telemetry.is_on

    def latency(self, handler: type[Handler]) -> Latency:
        latencies = self._stats.latencies
        return latencies.get(handler.name) or latencies.setdefault(handler.name, Latency())

    def handled(self, count: int, seconds: float) -> None:
        self._stats.handled += count
        self._stats.batches += 1
        self._stats.busy_seconds += seconds

    def failed(self, handler: type[Handler]) -> None:
        self._stats.failed += 1

    def called(self, handler: type[Handler], seconds: float, error: BaseException | None) -> None:
        self._telemetry.called(handler.name, seconds, error)

    def started(self, handler: type[Handler]) -> None:
        self._cannot_start.pop(handler.name, None)

    def is_known_failure(self, handler: type[Handler], error: str) -> bool:
        before, self._cannot_start[handler.name] = self._cannot_start.get(handler.name), error
        return before == error
