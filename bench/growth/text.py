"""The tables and the model in words, for a terminal and for `docs/benchmarks-in-depth.md`."""

from collections.abc import Sequence
from datetime import date

from bench.figure import number
from bench.growth.curves import Curve
from bench.growth.model import Fit, Model
from bench.growth.point import FITTED, Point
from bench.report import aligned, markdown

COLUMNS = {
    "registered /s": "register",
    "handled /s": "handle",
    "Redis CPU µs": "redis_us",
    "worker CPU µs": "worker_us",
    "commands": "commands",
    "bytes a request": "memory",
    "longest block ms": "block_ms",
}
NODES = (1, 3, 10)
SHAPES = ((128, 50), (10, 50), (1, 50), (128, 5_000))
"""Requests that a thread has waiting, and the bytes of each."""


def table(curve: Curve) -> list[tuple[str, ...]]:
    head = (curve.title.lower(), *COLUMNS)
    return [head, *(cells(getattr(point, curve.grows), point) for point in curve.points)]


def cells(grown: int, point: Point) -> tuple[str, ...]:
    values = {name: getattr(point, field) for name, field in COLUMNS.items()}
    shown = {name: number(value) for name, value in values.items()}
    if not point.block_ms:
        shown["longest block ms"] = "< 1"
    return f"{grown:,}", *shown.values()


def formulas(model: Model) -> list[str]:
    a, b, c = map(number, model.cpu.coefficients)
    thread, request, byte = map(number, model.memory.coefficients)
    return [
        f"CPU of Redis a request, µs = {a} + {b} / batch + {number(1000 * model.cpu.coefficients[2])} × kB"
        if model.cpu.coefficients[2]
        else f"CPU of Redis a request, µs = {a} + {b} / batch + {c} × bytes",
        f"memory of Redis, bytes = {thread} × threads + {request} × requests + {byte} × bytes of all bodies",
    ]


def error(fit: Fit) -> str:
    return f"{100 * fit.middle_error:.0f} % off at the median, {100 * fit.largest_error:.0f} % at most"


def limits(model: Model, worker_us: float) -> list[tuple[str, ...]]:
    """Computed: what the nodes do with all of their time, and the worker processes that keep them busy."""
    head = (
        "requests of a thread",
        "bytes",
        *(f"{nodes} Redis{' nodes' * (nodes > 1)}" for nodes in NODES),
        "workers a node",
    )
    rows = [
        (
            f"{batch:,}",
            f"{size:,}",
            *(f"{number(model.rate(batch, size, nodes))} /s" for nodes in NODES),
            number(max(1.0, worker_us / model.redis_us(batch, size))) if batch == SHAPES[0][0] and size == 50 else "",
        )
        for batch, size in SHAPES
    ]
    return [head, *rows]


def example(model: Model, rate: int = 5_000, waiting: int = 1_000_000, threads: int = 100_000, size: int = 200) -> str:
    """The two numbers that a Redis is sized by: requests a second, and requests that wait."""
    share = 100 * rate * model.redis_us(waiting / threads, size) / 1e6
    megabytes = model.bytes(threads, waiting, size) / 1e6
    return (
        f"{rate:,} requests a second of {size} bytes take {number(share)} % of a core of Redis, and {waiting:,} that "
        f"wait in {threads:,} threads take {number(megabytes)} MB."
    )


def terminal(curves: Sequence[Curve], model: Model) -> str:
    parts = [aligned(table(curve)) for curve in curves]
    return "\n\n".join([*parts, *said(model), example(model)])


def said(model: Model) -> list[str]:
    return [
        f"{formula} ({error(fit)})" for formula, fit in zip(formulas(model), (model.cpu, model.memory), strict=True)
    ]


def page(curves: Sequence[Curve], model: Model, machine: dict[str, str]) -> str:
    """The part of `docs/benchmarks-in-depth.md`."""
    about = f"Measured on {date.today().isoformat()} by `make growth`. " + "; ".join(
        f"{name}: {value}" for name, value in machine.items()
    )
    parts = [about + ".", "![curves of growth](growth.svg)"]
    parts += ["\n".join(f"- `{formula}`" for formula in formulas(model)), errors(model), example(model)]
    parts += [markdown(table(curve)) for curve in curves]
    parts += [COMPUTED, markdown(limits(model, curves[0].points[0].worker_us))]
    return "\n\n".join(parts)


def errors(model: Model) -> str:
    return (
        "*batch* is the number of requests that a thread has waiting, up to 128. Over all points of one worker on one "
        f"Redis and {FITTED:,} requests or more, the first formula is {error(model.cpu)}, and the second one "
        f"{error(model.memory)}."
    )


COMPUTED = (
    "Beyond the processors of this machine nothing was measured. Computed from the first formula, with all time of "
    "each node, and handlers with shards spread evenly:"
)
