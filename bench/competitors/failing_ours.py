"""This project: one thread of requests, one thread at a time."""

import asyncio
import logging

from failing import DELAY, JOBS, PORT, note

from sharded_queue import Handler, Queue, RedisCoordinator, RedisOptions, RedisStorage, Retry, Worker, connect, settings


class Work(Handler[int]):
    retry = Retry(limit=10, base_seconds=max(DELAY, 0.01), cap_seconds=10)

    async def perform(self, *numbers: int) -> None:
        for number in numbers:
            if note(number):
                raise ValueError("the first try")


async def main() -> None:
    logging.disable()
    settings.worker_concurrency = settings.worker_batch_size = 1
    redis = connect(RedisOptions((f"127.0.0.1:{PORT}",)))
    queue = Queue(RedisStorage(redis))
    await queue.register(Work, *JOBS)
    await Worker(RedisCoordinator(redis), queue, handlers=[Work]).loop()


asyncio.run(main())
