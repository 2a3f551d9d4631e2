"""arq: one job at a time, and a task that asks for its retry."""

import asyncio

from arq import Retry, create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func
from failing import DELAY, JOBS, PORT, note

REDIS = RedisSettings(port=PORT)


async def work(_: object, number: int) -> None:
    if note(number):
        raise Retry(defer=DELAY)


async def main() -> None:
    pool = await create_pool(REDIS)
    for number in JOBS:
        await pool.enqueue_job("work", number)
    await Worker([func(work, name="work")], redis_settings=REDIS, max_jobs=1, handle_signals=False).async_run()


asyncio.run(main())
