"""SAQ: 32 jobs at a time at its best, as in the benchmark of streaQ; without a bulk call, 32 calls at the same time."""

from saq import Queue, Worker
from timing import HOW, IS_TOLD, PORT, at_once, lasting, run, text

SETTINGS = {"single": {"concurrency": 1}, "best": {"concurrency": 32}, "default": {}}
OPTIONS = {} if HOW == "default" else {"ttl": -1}


async def work(_: object, *, number: int, text: str) -> None: ...


async def told(_: object, *, number: int, text: str) -> None:
    await lasting(number)


class Saq:
    def __init__(self) -> None:
        self.queue = Queue.from_url(f"redis://127.0.0.1:{PORT}")

    async def open(self) -> None:
        await self.queue.connect()

    async def register(self, numbers) -> None:
        await at_once(self.add, numbers, 32 if HOW == "best" else 1)

    async def add(self, number: int) -> None:
        await self.queue.enqueue("work", number=number, text=text(number), **OPTIONS)

    async def serve(self, count) -> None:
        await self.queue.connect()
        settings = dict(SETTINGS[HOW])
        if count is not None:
            settings |= {"burst": True, "dequeue_timeout": 1, "max_burst_jobs": count}
        await Worker(self.queue, [("work", told if IS_TOLD else work)], **settings).start()

    async def close(self) -> None:
        await self.queue.disconnect()


run(Saq())
