"""Statistics of a Redis server."""

from redis.asyncio import Redis

SENT_BY_WORKERS = ("evalsha", "blpop", "script|load", "eval")
"""Commands that a worker sends. All others in the statistics run inside its scripts."""


async def calls(redis: Redis) -> dict[str, int]:
    """The number of runs of each command since the last `reset`, including those inside scripts."""
    stats = await redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(values["calls"]) for name, values in stats.items()}


async def sent(redis: Redis) -> int:
    counted = await calls(redis)
    return sum(counted.get(name, 0) for name in SENT_BY_WORKERS)


async def reset(redis: Redis) -> None:
    await redis.config_resetstat()


async def memory(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


async def cpu_seconds(redis: Redis) -> float:
    used = await redis.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])
