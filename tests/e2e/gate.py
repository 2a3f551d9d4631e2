"""Where worker pods of tests wait, mounted into them: a test lets them go on when it has seen what it came for."""

import asyncio
from dataclasses import replace
from functools import cache
from typing import Any

from redis.exceptions import RedisError

from sharded_queue.backends.redis.client import RedisOptions, connect

PAUSE_SECONDS = 0.1


async def passed(name: str) -> None:
    """
    Wait until the gate *name* is open: a stream with an entry, which all who wait for it see.

    A Redis that is away meanwhile is waited for as well.
    """
    while True:
        try:
            if await redis().xread({f"gate:{name}": 0}, block=0):
                return
        except RedisError:
            await asyncio.sleep(PAUSE_SECONDS)


@cache
def redis() -> Any:
    """An answer may take as long as the test does."""
    return connect(replace(RedisOptions.from_settings(), timeout_seconds=300))
