"""`python -m bench.growth`: measure the curves, fit the model, and write both into `docs/benchmarks-in-depth.md`."""

import argparse
import asyncio
import tempfile
from pathlib import Path

from bench import machine, quoted
from bench.ending import ended_by_signals
from bench.environments import ROOT
from bench.growth import blocks, curves, model, nodes, plot, text
from bench.growth.block import Measured
from bench.growth.curves import FULL, QUICK, Curve, Extent
from bench.page import write_part
from bench.report import PAGE
from tools.redis_server import RedisServer

NODES = 3


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the beginnings of the curves, and no report")
    parser.add_argument("--blocks", action="store_true", help="only how long each step keeps Redis (two minutes)")
    return parser.parse_args()


async def blocked(folder: Path) -> list[Measured]:
    server = RedisServer(folder / "blocks")
    found = []
    with ended_by_signals():
        try:
            async for each in blocks.measure_all(server.start()):
                print(f"  {each.block.script}: {each.longest_ms:.1f} ms, {each.block.bounds}", flush=True)
                found.append(each)
        finally:
            server.kill()
    return found


async def measured(folder: Path, extent: Extent) -> list[Curve]:
    with ended_by_signals(), nodes.started(folder, 1) as one, nodes.started(folder, NODES) as three:
        return [curve async for curve in curves.measure(one, three, extent)]


def main() -> None:
    words = parsed()
    about = machine.hardware() | machine.load()
    with tempfile.TemporaryDirectory() as folder:
        each_step = [] if words.quick else asyncio.run(blocked(Path(folder)))
    if each_step:
        write_part(PAGE, "blocks", blocks.page(each_step, about))
    if words.blocks:
        return
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measured(Path(folder), QUICK if words.quick else FULL))
    fitted = model.fitted([point for curve in found for point in curve.points if point.tells])
    print("\n" + text.terminal(found, fitted))
    if not words.quick:
        write_part(PAGE, "growth", text.page(found, fitted, about))
        plot.PATH.write_text(plot.drawn(found, fitted))
        quoted.renew()
        print(f"\nwritten: {PAGE.relative_to(ROOT)}, {plot.PATH.relative_to(ROOT)}")


main()
