"""SAQ: one job at a time, with a second try."""

import asyncio

from failing import DELAY, JOBS, PORT, note
from saq import Queue, Worker


async def work(_: object, *, number: int) -> None:
    if note(number):
        raise ValueError("the first try")


async def main() -> None:
    queue = Queue.from_url(f"redis://127.0.0.1:{PORT}")
    await queue.connect()
    for number in JOBS:
        await queue.enqueue("work", number=number, retries=2, retry_delay=DELAY)
    await Worker(queue, [("work", work)], concurrency=1).start()


asyncio.run(main())
