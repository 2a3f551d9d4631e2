"""arq: 32 jobs at a time at its best, as in the benchmark of streaQ; without a bulk call, 32 calls at the same time."""

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func
from timing import HOW, IS_TOLD, PORT, at_once, lasting, run, text

REDIS = RedisSettings(port=PORT)
SETTINGS = {
    "single": {"max_jobs": 1, "poll_delay": 0.001, "keep_result": 0},
    "best": {"max_jobs": 32, "poll_delay": 0.001, "keep_result": 0},
    "default": {},
}


async def work(_: object, number: int, text: str) -> None: ...


async def told(_: object, number: int, text: str) -> None:
    await lasting(number)


class Arq:
    async def open(self) -> None:
        self.pool = await create_pool(REDIS)

    async def register(self, numbers) -> None:
        await at_once(self.add, numbers, 32 if HOW == "best" else 1)

    async def add(self, number: int) -> None:
        await self.pool.enqueue_job("work", number, text(number))

    async def serve(self, count) -> None:
        job = func(told if IS_TOLD else work, name="work")
        settings = {"burst": count is not None, "handle_signals": False, **SETTINGS[HOW]}
        worker = Worker([job], redis_settings=REDIS, **settings)
        await worker.async_run()
        assert worker.jobs_complete == count, worker.jobs_complete

    async def close(self) -> None:
        await self.pool.aclose()


run(Arq())
