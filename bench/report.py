"""The tables, for a terminal and for `docs/benchmarks-in-depth.md`."""

from collections.abc import Sequence
from datetime import date

from bench.environments import ROOT
from bench.figure import Figure
from bench.others.comparison import Comparison
from bench.page import write_part

PAGE = ROOT / "docs" / "benchmarks-in-depth.md"
HEAD = ("figure", "measured", "before", "target", "", "how")


def figure_cells(figure: Figure) -> tuple[str, ...]:
    return figure.name, figure.value, figure.before, figure.target, figure.verdict, figure.note


def aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join("| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines)


def text(figures: Sequence[Figure], others: Comparison) -> str:
    parts = [aligned([HEAD, *map(figure_cells, figures)])]
    if others.rates:
        parts += [aligned(others.rates_table()), aligned(others.behaviour_table())]
    return "\n\n".join(parts)


def parts(machine: dict[str, str], figures: Sequence[Figure], others: Comparison) -> dict[str, str]:
    """The parts of the page, by name."""
    about = {"Measured": f"{date.today().isoformat()} by `make bench`", **machine}
    return {
        "run": "\n".join(f"- {name}: {value}" for name, value in about.items()),
        "figures": markdown([HEAD, *map(figure_cells, figures)]),
        "others": markdown(others.rates_table()),
        "behaviour": markdown(others.behaviour_table()),
        "remarks": "\n".join(f"- {name}: {remark}." for name, remark in others.remarks().items()),
    }


def write(machine: dict[str, str], figures: Sequence[Figure], others: Comparison) -> None:
    for name, text in parts(machine, figures, others).items():
        write_part(PAGE, name, text)
