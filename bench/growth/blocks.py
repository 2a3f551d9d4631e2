"""A line for each script of the engine: how long Redis serves nobody else while it runs, at its bounds."""

from collections.abc import AsyncIterator, Sequence
from datetime import date

from bench.figure import number
from bench.growth.block import LONGEST_MS, RUNS, Block, Measured, measure, prepared
from bench.growth.steps import handling, people, reading, registering
from bench.report import markdown
from tools.redis_server import RedisServer

BLOCKS: tuple[Block, ...] = (*registering.BLOCKS, *handling.BLOCKS, *reading.BLOCKS, *people.BLOCKS)


async def measure_all(server: RedisServer, blocks: Sequence[Block] = BLOCKS) -> AsyncIterator[Measured]:
    async with prepared(server) as bed:
        for block in blocks:
            yield await measure(bed, block)


def table(measured: Sequence[Measured]) -> list[tuple[str, ...]]:
    """The longest block comes first."""
    ordered = sorted(measured, key=lambda each: -each.longest_ms)
    rows = [(f"`{block.script}`", block.bounds, number(longest)) for block, longest in ordered]
    return [("step", "at its bounds", "longest block ms"), *rows]


def page(measured: Sequence[Measured], machine: dict[str, str]) -> str:
    """The part of `docs/benchmarks-in-depth.md`."""
    about = "; ".join(f"{name}: {value}" for name, value in machine.items())
    above = sorted({each.block.script for each in measured if each.longest_ms > LONGEST_MS})
    verdict = f"No step is above {LONGEST_MS:g} ms." if not above else f"Above {LONGEST_MS:g} ms: {', '.join(above)}."
    return "\n\n".join(
        [
            f"Measured on {date.today().isoformat()} by `make growth`, each the shortest of {RUNS} runs. {about}.",
            verdict,
            markdown(table(measured)),
        ]
    )
