"""arq: one queue, one job at a time."""

import asyncio

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func
from timing import TEXT, Clock, arguments, report


async def work(_: object, number: int, text: str) -> None: ...


async def main() -> None:
    port, count, _ = arguments()
    redis = RedisSettings(port=port)
    pool = await create_pool(redis)
    clock = Clock(count)
    for number in range(count):
        await pool.enqueue_job("work", number, TEXT)
    registered = clock.lap()
    worker = Worker(
        [func(work, name="work", keep_result=0)],
        redis_settings=redis,
        burst=True,
        max_jobs=1,
        poll_delay=0.001,
        handle_signals=False,
    )
    clock.start()
    await worker.async_run()
    handled = clock.lap()
    assert worker.jobs_complete == count, worker.jobs_complete
    report(registered, handled)
    await worker.close()
    await pool.aclose()


asyncio.run(main())
