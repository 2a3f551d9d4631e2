"""Redis memory per queued request, against a bare list of the same requests."""

from collections.abc import AsyncIterator

from redis.asyncio import Redis

from bench import load, server
from bench.figure import Figure
from bench.load import encode
from bench.scale import Scale


async def measure(redis: Redis, scale: Scale) -> AsyncIterator[Figure]:
    await load.fill(redis, scale.requests, 1)  # what Redis allocates once, such as the scripts
    for threads, bound in ((1, 1.5), (100, 1.5), (scale.requests // 10, None)):
        ours, bare = await ours_bytes(redis, scale.requests, threads), await bare_bytes(redis, scale.requests, threads)
        name = f"Redis memory a request, {threads:,} thread{'s'[: threads > 1]}: to bare lists"
        yield Figure(name, ours / bare, "×", f"{ours:.0f} bytes; bare {bare:.0f}, without a time", bound, "≤")


async def ours_bytes(redis: Redis, count: int, threads: int) -> float:
    before = await emptied(redis)
    await load.fill(redis, count, threads)
    return (await server.settled_bytes(redis) - before) / count


async def bare_bytes(redis: Redis, count: int, threads: int) -> float:
    """The memory of the encoded requests alone, without a time of registration."""
    before = await emptied(redis)
    waiting = load.requests(count)
    for thread in range(threads):
        await redis.rpush(f"bare:{thread}", *[encode(request) for request in waiting[thread::threads]])
    return (await server.settled_bytes(redis) - before) / count


async def emptied(redis: Redis) -> int:
    await redis.flushall()
    return await server.settled_bytes(redis)
