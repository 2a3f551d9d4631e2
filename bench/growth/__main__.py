"""`python -m bench.growth`: measure the curves, fit the model, and write both into `docs/benchmarks.md`."""

import argparse
import asyncio
import tempfile
from pathlib import Path

from bench import machine
from bench.ending import ended_by_signals
from bench.environments import ROOT
from bench.growth import curves, model, nodes, plot, text
from bench.growth.curves import FULL, QUICK, Curve, Extent
from bench.page import write_part
from bench.report import PAGE

NODES = 3


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the beginnings of the curves, and no report")
    return parser.parse_args()


async def measured(folder: Path, extent: Extent) -> list[Curve]:
    with ended_by_signals(), nodes.started(folder, 1) as one, nodes.started(folder, NODES) as three:
        return [curve async for curve in curves.measure(one, three, extent)]


def main() -> None:
    words = parsed()
    about = machine.hardware() | machine.load()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measured(Path(folder), QUICK if words.quick else FULL))
    fitted = model.fitted([point for curve in found for point in curve.points if point.tells])
    print("\n" + text.terminal(found, fitted))
    if not words.quick:
        write_part(PAGE, "growth", text.page(found, fitted, about))
        plot.PATH.write_text(plot.drawn(found, fitted))
        print(f"\nwritten: {PAGE.relative_to(ROOT)}, {plot.PATH.relative_to(ROOT)}")


main()
