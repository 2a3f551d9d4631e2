"""`python -m bench`: measure, print the table, write `docs/benchmarks-in-depth.md` and its plot."""

import argparse
import asyncio
import tempfile
from pathlib import Path

from redis.asyncio import Redis

from bench import environments, machine, plot, quoted, report
from bench.before import with_before
from bench.ending import ended_by_signals
from bench.figure import Figure
from bench.figures import alone, bind, crash, handle, handlers, idle, memory, persist, register, start, wake
from bench.others import comparison
from bench.others.comparison import Comparison
from bench.scale import FULL, QUICK, Scale
from tools.redis_server import RedisServer

PARTS = {
    part.__name__.rpartition(".")[2]: part
    for part in (handle, register, alone, persist, bind, wake, handlers, memory, idle, start, crash)
}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, and no report")
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "others"], help="these parts, and no report")
    return parser.parse_args()


async def measured(redis: Redis, folder: Path, scale: Scale, only: list[str] | None) -> tuple[list[Figure], Comparison]:
    figures: list[Figure] = []
    for name, part in PARTS.items():
        if only is None or name in only:
            async for figure in part.measure(redis, scale):
                print(f"  {figure.name}: {figure.value} {figure.verdict}", flush=True)
                figures.append(with_before(figure))
    if "others" in only if only else scale.competitors:
        return figures, await comparison.measure(redis, folder, scale)
    return figures, Comparison()


async def main() -> None:
    words = parsed()
    scale = QUICK if words.quick else FULL
    environments.PLACE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, ended_by_signals():
        folder = Path(name)
        server = RedisServer(folder).start()
        try:
            async with Redis(port=server.port, socket_timeout=120) as redis:
                described = await machine.described(redis)
                figures, others = await measured(redis, folder, scale, words.only)
        finally:
            server.kill()
    print("\n" + report.text(figures, others))
    if not words.quick and not words.only:
        report.write(described, figures, others)
        plot.PATH.write_text(plot.drawn(figures, others))
        quoted.renew()
        print(f"\nwritten: {report.PAGE.relative_to(environments.ROOT)}, {plot.PATH.relative_to(environments.ROOT)}")


asyncio.run(main())
