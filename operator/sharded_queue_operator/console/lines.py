"""The workers and lanes of the last minutes, as lines. Pure."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

PERIOD_SECONDS = 5.0
"""Between two lists: a line gets a point from each of them."""
POINTS = 61
"""Five minutes."""


class Point(NamedTuple):
    """How many workers and lanes there were at *at*, in seconds since 1970."""

    at: float
    workers: int
    lanes: int


def line(points: Sequence[Point], of: Literal["workers", "lanes"]) -> list[tuple[float, float]]:
    """(seconds before the last point, number), the oldest first; points within a level stretch are left out."""
    numbers, last = [getattr(point, of) for point in points], len(points) - 1
    return [
        (points[-1].at - point.at, float(number))
        for index, (point, number) in enumerate(zip(points, numbers, strict=True))
        if index in (0, last) or {numbers[index - 1], numbers[index + 1]} != {number}
    ]
