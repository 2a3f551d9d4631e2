"""The machine on which the figures were measured."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

from redis.asyncio import Redis


async def described(redis: Redis) -> dict[str, str]:
    server = await redis.info("server")
    return {
        **hardware(),
        **load(),
        "Redis": f"{server['redis_version']}, on the loopback, without persistence",
        "Python": platform.python_version(),
        "Packages": ", ".join(f"{name} {version(name)}" for name in ("sharded-queue", "redis", "hiredis", "msgspec")),
    }


def hardware() -> dict[str, str]:
    return {"Machine": f"{os.cpu_count()} cores ({_processor()}), {_memory_gib():.0f} GiB, {platform.system()}"}


def load() -> dict[str, str]:
    return {"Load when it began": f"{os.getloadavg()[0]:.1f} (other programs ran beside it where this is above 0.5)"}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
