"""Handling: a worker against a bare pipeline, on one thread, on many, and on very many that hold one request each."""

from collections.abc import AsyncIterator
from statistics import median

from redis.asyncio import Redis

from bench import baseline, load, server
from bench.arithmetic import paired_ratio
from bench.figure import Figure
from bench.load import Run
from bench.scale import Scale
from sharded_queue import settings

THREADS = (1, 10, 100)


async def measure(redis: Redis, scale: Scale) -> AsyncIterator[Figure]:
    one: list[Run] = []
    for threads in THREADS:
        ours, pipeline, lean = await in_turns(redis, scale, threads)
        one = one or ours
        yield compared(threads, ours, pipeline)
        yield Figure(
            f"  … against the same commands without redis-py, {threads} thread{'s'[: threads > 1]}",
            paired_ratio(rates(ours), rates(lean)),
            "×",
            f"{median(rates(lean)):,.0f} /s bare",
        )
    yield Figure(
        "CPU of the worker per request, one thread",
        median(run.cpu_us for run in one),
        "µs",
        "decoding included",
        6,
        "≤",
    )
    yield await calls_per_request(redis, scale)
    async for figure in one_request_each(redis, scale):
        yield figure
    async for figure in one_request_each_with_the_defaults(redis, scale):
        yield figure


def compared(threads: int, ours: list[Run], pipeline: list[Run]) -> Figure:
    note = f"{median(rates(ours)):,.0f} /s; bare {median(rates(pipeline)):,.0f} /s"
    ratio, target = paired_ratio(rates(ours), rates(pipeline)), 0.8 if threads == 1 else 0.7
    return Figure(f"handle, {threads} thread{'s'[: threads > 1]}: to bare LRANGE+LTRIM", ratio, "×", note, target)


async def in_turns(redis: Redis, scale: Scale, threads: int) -> tuple[list[Run], list[Run], list[Run]]:
    ours: list[Run] = []
    pipeline: list[Run] = []
    lean: list[Run] = []
    for _ in range(scale.rounds):
        ours.append(await ours_once(redis, scale.requests, threads))
        for runs, handle in ((pipeline, baseline.handle), (lean, baseline.handle_lean)):
            keys = await baseline.fill(redis, scale.requests, threads)
            runs.append(await handle(redis, keys, scale.requests))
    return ours, pipeline, lean


async def ours_once(redis: Redis, count: int, threads: int) -> Run:
    await redis.flushall()
    await load.fill(redis, count, threads)
    return await load.serve(redis, count)


async def calls_per_request(redis: Redis, scale: Scale) -> Figure:
    await redis.flushall()
    await load.fill(redis, scale.requests, 1)
    await server.reset(redis)
    await load.serve(redis, scale.requests)
    calls = await server.sent(redis) / scale.requests
    return Figure("Redis calls a request, batch 128, one thread", calls, "", f"1/{1 / calls:.0f}", 0.01, "≤")


async def one_request_each(redis: Redis, scale: Scale) -> AsyncIterator[Figure]:
    count = scale.small_threads
    one, small, bare_small, sent, inside = [], [], [], 0, 0
    for _ in range(scale.rounds):
        one.append(await ours_once(redis, scale.requests, 1))
        await redis.flushall()
        await load.fill(redis, count, count)
        await server.reset(redis)
        small.append(await load.serve(redis, count))
        sent, inside = await server.sent(redis), sum((await server.calls(redis)).values())
        keys = await baseline.fill_each(redis, count)
        bare_small.append(await baseline.handle(redis, keys, count))
    rate, name = median(rates(small)), f"{count:,} threads × 1 request"
    yield Figure(
        f"{name}: to one thread",
        paired_ratio(rates(small), rates(one)),
        "×",
        f"{rate:,.0f} /s; CPU {median(c.cpu_us for c in small):.0f} µs",
        0.25,
    )
    yield Figure(
        f"{name}: Redis calls a request", sent / count, "", f"{(inside - sent) / count:.0f} inside scripts", 1, "≤"
    )
    note = f"bare {median(rates(bare_small)):,.0f} /s"
    yield Figure(
        "  … against bare LRANGE+LTRIM, list by list", paired_ratio(rates(small), rates(bare_small)), "×", note
    )


async def one_request_each_with_the_defaults(redis: Redis, scale: Scale) -> AsyncIterator[Figure]:
    count, concurrency, name = scale.small_threads, settings.worker_concurrency, "  … with the defaults"
    ours: list[Run] = []
    bare: list[Run] = []
    commands = 0
    for _ in range(scale.rounds):
        run, commands = await small_threads_once(redis, count, concurrency)
        ours.append(run)
        bare.append(await baseline.handle(redis, await baseline.fill_each(redis, count), count))
    note = f"{concurrency} threads at a time; CPU {median(run.cpu_us for run in ours):.0f} µs"
    yield Figure(f"{name}: rate", median(rates(ours)), "/s", note, 20_000)
    yield Figure(f"{name}: to bare LRANGE+LTRIM, list by list", paired_ratio(rates(ours), rates(bare)), "×")
    yield Figure(f"{name}: commands a request", commands / count, "", "those inside scripts included", 5, "≤")
    _, commands = await small_threads_once(redis, count, 1)
    yield Figure("  … one thread at a time: commands a request", commands / count, "", "38 if none is bound ahead")


async def small_threads_once(redis: Redis, count: int, concurrency: int) -> tuple[Run, int]:
    """Returns the number of commands, too, inside scripts and out."""
    await redis.flushall()
    await load.fill(redis, count, count)
    await server.reset(redis)
    run = await load.serve(redis, count, concurrency)
    return run, sum((await server.calls(redis)).values())


def rates(runs: list[Run]) -> list[float]:
    return [run.rate for run in runs]
