"""The tables, for a terminal and for `docs/benchmarks.md`."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from bench.environments import ROOT
from bench.figure import Figure, number
from bench.figures.others import Rates

PAGE = ROOT / "docs" / "benchmarks.md"
PROSE = Path(__file__).parent / "prose.md"
HEAD = ("figure", "measured", "target", "", "how")
OTHERS_HEAD = ("queue", "job", "registered /s", "handled /s", "worker CPU µs", "Redis CPU µs")


def figure_cells(figure: Figure) -> tuple[str, ...]:
    return figure.name, figure.value, figure.target, figure.verdict, figure.note


def rates_cells(rates: Rates) -> tuple[str, ...]:
    numbers = (rates.register, rates.handle, rates.cpu_us, rates.redis_us)
    return rates.name, rates.job, *map(number, numbers)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join("| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines)


def text(figures: Sequence[Figure], rates: Sequence[Rates]) -> str:
    parts = [aligned([HEAD, *map(figure_cells, figures)])]
    if rates:
        parts.append(aligned([OTHERS_HEAD, *map(rates_cells, rates)]))
    return "\n\n".join(parts)


def page(machine: dict[str, str], figures: Sequence[Figure], rates: Sequence[Rates]) -> str:
    """`prose.md` with the measurements in its placeholders."""
    places = {
        "date": date.today().isoformat(),
        "machine": "\n".join(f"- {name}: {value}" for name, value in machine.items()),
        "figures": markdown([HEAD, *map(figure_cells, figures)]),
        "others": markdown([OTHERS_HEAD, *map(rates_cells, rates)]),
        "remarks": "\n".join(dict.fromkeys(f"- {each.name}: {each.remark}." for each in rates)),
    }
    result = PROSE.read_text()
    for name, value in places.items():
        result = result.replace(f"<!-- {name} -->", value)
    return result
