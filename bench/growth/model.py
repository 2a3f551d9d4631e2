"""
The model: what a request costs Redis, and what it holds in memory.

- CPU: `a + b / batch + c × size` µs for registering and handling one request, where *batch* is the number of requests
  that a thread has waiting, up to 128.
- Memory: `m0` bytes a thread, `m1` bytes a request, and `m2` for each byte of a body.

Each is fitted by least squares of the relative errors, so that small points count as much as large ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.growth.point import Point

Row = Sequence[float]


@dataclass(frozen=True, slots=True)
class Fit:
    """The coefficients, and how far the fitted points are from them, as a part of what was measured."""

    coefficients: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def middle_error(self) -> float:
        return median(self.errors)

    @property
    def largest_error(self) -> float:
        return max(self.errors)

    def of(self, row: Row) -> float:
        return sum(coefficient * value for coefficient, value in zip(self.coefficients, row, strict=True))


@dataclass(frozen=True, slots=True)
class Model:
    cpu: Fit
    memory: Fit

    def redis_us(self, batch: float, size: int) -> float:
        return self.cpu.of(cpu_row(batch, size))

    def bytes(self, threads: int, requests: int, size: int) -> float:
        return self.memory.of(memory_row(threads, requests, size))

    def rate(self, batch: float, size: int, nodes: int = 1) -> float:
        """Requests a second that *nodes* register and handle with all of their time."""
        return nodes * 1e6 / self.redis_us(batch, size)


def fitted(points: Sequence[Point]) -> Model:
    return Model(
        fit([cpu_row(point.batch, point.size) for point in points], [point.redis_us for point in points]),
        fit(
            [memory_row(point.threads, point.requests, point.size) for point in points],
            [point.total_memory for point in points],
        ),
    )


def cpu_row(batch: float, size: int) -> Row:
    return 1.0, 1.0 / batch, float(size)


def memory_row(threads: int, requests: int, size: int) -> Row:
    return float(threads), float(requests), float(requests) * size


def fit(rows: Sequence[Row], values: Sequence[float]) -> Fit:
    """
    Coefficients that are not negative: a column that would get less than nothing is left out.

    Raises:
        ValueError: fewer values than coefficients, a value that is not positive, or rows that cannot tell them apart.
    """
    width = len(rows[0]) if rows else 0
    if len(rows) != len(values) or len(rows) < max(width, 1) or min(values) <= 0:
        raise ValueError(f"{len(rows)} rows and {len(values)} values fit no {width} coefficients")
    relative = [[each / value for each in row] for row, value in zip(rows, values, strict=True)]
    used = list(range(width))
    while min(solution := least_squares([[row[column] for column in used] for row in relative])) < 0:
        used.pop(solution.index(min(solution)))
    coefficients = [0.0] * width
    for column, coefficient in zip(used, solution, strict=True):
        coefficients[column] = coefficient
    result = Fit(tuple(coefficients), ())
    return Fit(result.coefficients, tuple(abs(result.of(row) - 1) for row in relative))


def least_squares(rows: Sequence[Row]) -> list[float]:
    """The coefficients for which all rows are nearest to 1, by the normal equations."""
    width = len(rows[0])
    scale = [max(abs(row[column]) for row in rows) or 1.0 for column in range(width)]
    scaled = [[value / by for value, by in zip(row, scale, strict=True)] for row in rows]
    matrix = [
        [*(sum(row[i] * row[j] for row in scaled) for j in range(width)), sum(row[i] for row in scaled)]
        for i in range(width)
    ]
    return [value / by for value, by in zip(solved(matrix), scale, strict=True)]


def solved(matrix: list[list[float]]) -> list[float]:
    """Gauss and Jordan, with the largest pivot."""
    width = len(matrix)
    for column in range(width):
        pivot = max(range(column, width), key=lambda row: abs(matrix[row][column]))
        if abs(matrix[pivot][column]) < 1e-12:
            raise ValueError("the rows do not tell the columns apart: measure more different points")
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        for row in range(width):
            if row != column:
                by = matrix[row][column] / matrix[column][column]
                matrix[row] = [value - by * other for value, other in zip(matrix[row], matrix[column], strict=True)]
    return [matrix[row][width] / matrix[row][row] for row in range(width)]
