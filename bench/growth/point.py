"""What one run measured."""

import math
from dataclasses import dataclass

BATCH = 128
FITTED = 1_000
"""Runs of fewer requests are measured and drawn, but tell nothing about the cost of a request."""


@dataclass(frozen=True, slots=True)
class Point:
    """
    One run: *requests* with bodies of *size* bytes in *threads*, handled by *workers* processes on *nodes* of Redis.

    Rates are per second; CPU µs, commands and memory per request, where Redis is the sum of its nodes. *handled* may be
    fewer than *requests*: where very many wait, a part of them tells the rate.
    """

    workers: int
    nodes: int
    threads: int
    requests: int
    size: int
    register: float
    handle: float
    redis_us: float
    worker_us: float
    commands: float
    memory: float
    block_ms: float

    @property
    def batch(self) -> float:
        """Requests in one call of a handler, as far as a thread has them."""
        return min(BATCH, max(1.0, self.requests / self.threads))

    @property
    def tells(self) -> bool:
        """Whether the model is fitted to it: one of few requests tells what a connection and the scripts cost."""
        return self.workers == self.nodes == 1 and self.requests >= FITTED

    @property
    def total_memory(self) -> float:
        return self.memory * self.requests


def powers(low: int, high: int) -> list[int]:
    """1, 10, 100 … between the bounds."""
    return [10**each for each in range(round(math.log10(low)), round(math.log10(high)) + 1)]
