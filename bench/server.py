"""Statistics of a Redis server."""

import asyncio
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

SENT_BY_WORKERS = ("evalsha", "blpop", "script|load", "eval")
"""Commands that a worker sends. All others in the statistics run inside its scripts."""
READINGS, READING_SECONDS = 10, 0.2
"""The most readings of memory, and the time between two."""


async def calls(redis: Redis) -> dict[str, int]:
    """The number of runs of each command since the last `reset`, including those inside scripts."""
    stats = await redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(values["calls"]) for name, values in stats.items()}


async def sent(redis: Redis) -> int:
    counted = await calls(redis)
    return sum(counted.get(name, 0) for name in SENT_BY_WORKERS)


async def reset(redis: Redis) -> None:
    await redis.config_resetstat()


async def cpu_seconds(redis: Redis) -> float:
    used = await redis.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


async def reads(redis: Redis) -> int:
    """How often the server read from a connection since the last `reset`: a pipeline that is small counts as one."""
    return int((await redis.info("stats"))["total_reads_processed"])


async def track_no_latencies(redis: Redis) -> None:
    """Redis 7 keeps a histogram for each command, of which a reset frees 20 kB each: memory of no request."""
    with suppress(ResponseError):
        await redis.config_set("latency-tracking", "no")


async def settled_bytes(redis: Redis) -> int:
    """`data_bytes`, once two readings are equal: Redis notes a moment later which memory belongs to connections."""
    before = -1
    for _ in range(READINGS):
        now = data_bytes(await redis.memory_stats())
        if now == before:
            break
        before = now
        await asyncio.sleep(READING_SECONDS)
    return before


def data_bytes(stats: dict[str, Any]) -> int:
    """
    The memory of keys and values alone, of the answer to MEMORY STATS.

    Connections and their buffers are not counted: processes that have just ended leave some, and others come.
    """
    tables = stats.get("db.0", {})
    return int(stats["dataset.bytes"]) + sum(int(value) for value in tables.values())
