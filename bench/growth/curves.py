"""The runs: along each dimension from one to as many as fit into ten minutes and six gigabytes."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from bench.growth import load
from bench.growth.nodes import Nodes
from bench.growth.point import Point, powers
from bench.others.script import surroundings

WORKERS = (1, 2, 4, 8)
SIZES = (50, 500, 5_000, 50_000, 100_000)
RUN_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Extent:
    """The ends of the curves."""

    workers: Sequence[int] = WORKERS
    shared: int = 400_000
    """Requests that the workers of the first two curves share."""
    threads: int = 1_000_000
    requests: int = 10_000_000
    usual: int = 100_000
    """Requests of a run, unless the curve needs more."""
    sizes: Sequence[int] = SIZES
    body_bytes: int = 200_000_000
    """The most that all bodies of a run are together, where their size grows."""


FULL = Extent()
QUICK = Extent((1, 2), 4_000, 1_000, 10_000, 2_000, (50, 500, 5_000), 2_000_000)


@dataclass(frozen=True, slots=True)
class Curve:
    """*grows*: the field of its points that differs from one to the next."""

    title: str
    grows: str
    points: tuple[Point, ...]


async def measure(one: Nodes, three: Nodes, extent: Extent) -> AsyncIterator[Curve]:
    """First a small run on each, which loads the scripts and opens what connections need."""
    usual = extent.usual
    for nodes in (one, three):
        await once(nodes, 1, 10, 1_000, 50)
    for title, nodes in (("Workers on one Redis", one), (f"Workers on a Cluster of {len(three.servers)}", three)):
        threads = min(1_000, extent.shared // 10)
        runs = [await once(nodes, workers, threads, extent.shared, 50) for workers in extent.workers]
        yield Curve(title, "workers", tuple(runs))
    runs = [await once(one, 1, threads, max(usual, threads), 50) for threads in powers(1, extent.threads)]
    yield Curve("Threads", "threads", tuple(runs))
    runs = [await once(one, 1, min(100, count), count, 50) for count in powers(1, extent.requests)]
    yield Curve("Requests", "requests", tuple(runs))
    runs = [await once(one, 1, 10, min(usual, extent.body_bytes // size), size) for size in extent.sizes]
    yield Curve("Bytes of a message", "size", tuple(runs))


async def once(nodes: Nodes, workers: int, threads: int, requests: int, size: int, at_most: int = 400_000) -> Point:
    """Register, then let the workers handle: all requests, or *at_most*."""
    nodes.empty()
    empty, cpu = nodes.memory(), nodes.cpu_us()
    rate = await load.register(nodes.addresses, threads, requests, size)
    waiting, registered_us, registered_commands = nodes.memory() - empty, nodes.cpu_us() - cpu, nodes.commands()
    cpu = nodes.cpu_us()
    count = min(requests, at_most)
    shares = [count // workers + (each < count % workers) for each in range(workers)]
    reports = await asyncio.gather(*(handled(nodes, share) for share in shares if share))
    handled_us, handled_commands = nodes.cpu_us() - cpu, nodes.commands() - registered_commands
    seconds = max(each["ended"] for each in reports) - min(each["begun"] for each in reports)
    point = Point(
        workers=workers,
        nodes=len(nodes.servers),
        threads=threads,
        requests=requests,
        size=size,
        register=rate,
        handle=count / seconds,
        redis_us=registered_us / requests + handled_us / count,
        worker_us=sum(each["cpu_us"] for each in reports) / count,
        commands=registered_commands / requests + handled_commands / count,
        memory=max(waiting, 0) / requests,
        block_ms=nodes.longest_block_ms(),
    )
    print(f"  {point}", flush=True)
    nodes.empty()
    return point


async def handled(nodes: Nodes, count: int) -> dict[str, float]:
    """A worker process that handles *count* requests."""
    words = ["-m", "bench.growth.load", str(count), ",".join(nodes.addresses)]
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=PIPE, env=surroundings())
    try:
        async with asyncio.timeout(RUN_SECONDS):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"a worker ended with {process.returncode}: it printed why")
    report: dict[str, float] = json.loads(printed)
    if report["handled"] != count:
        raise RuntimeError(f"{report['handled']} of {count} requests were handled: this measured something else")
    return report
