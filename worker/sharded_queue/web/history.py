"""The last minutes of a handler, kept in the memory of the console."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

STEP_SECONDS = 5.0
"""Between two points of a line. A line changes once in this time, so most updates of a page do not hold lines."""
POINTS = 61
"""Five minutes."""
RATE_SECONDS = 10.0
"""A rate is that of this time: shorter jumps, longer lags behind."""


class Sample(NamedTuple):
    """A handler at a moment, summed over its shards. *registered* and *settled* are counters."""

    at: float
    depth: int
    lag_seconds: float
    registered: int
    settled: int
    born: tuple[int | None, ...]
    """Marks the data: counters of other data say nothing about a rate."""


class History:
    """Samples of one handler: all of the last seconds for rates, and one a step for lines."""

    def __init__(self) -> None:
        self.recent: deque[Sample] = deque()
        self.steps: deque[Sample] = deque(maxlen=POINTS)

    def add(self, sample: Sample) -> None:
        self.recent.append(sample)
        while self.recent[0].at < sample.at - RATE_SECONDS:
            self.recent.popleft()
        if not self.steps or sample.at - self.steps[-1].at >= STEP_SECONDS:
            self.steps.append(sample)

    def rate(self, counter: Callable[[Sample], int]) -> float | None:
        """A second; None where two samples of the same data are not there yet."""
        if len(self.recent) < 2:
            return None
        first, last = self.recent[0], self.recent[-1]
        if first.born != last.born or last.at <= first.at or counter(last) < counter(first):
            return None
        return (counter(last) - counter(first)) / (last.at - first.at)

    def line(self, value: Callable[[Sample], float]) -> list[tuple[float, float]]:
        """(seconds before the last point, value), the oldest first."""
        return [(self.steps[-1].at - each.at, value(each)) for each in self.steps] if self.steps else []

    def handled(self) -> list[tuple[float, float]]:
        """The rate of settlements between the points, as a line."""
        pairs = zip(self.steps, list(self.steps)[1:], strict=False)
        return [
            (self.steps[-1].at - later.at, max(0, later.settled - earlier.settled) / (later.at - earlier.at))
            for earlier, later in pairs
            if earlier.born == later.born
        ]


def total(lines: Sequence[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The sum of lines point by point, aligned at their ends."""
    longest = max(map(len, lines), default=0)
    padded = [[(0.0, 0.0)] * (longest - len(line)) + line for line in lines]
    return [
        (max(point[0] for point in points), sum(point[1] for point in points)) for points in zip(*padded, strict=True)
    ]
