"""streaQ: 32 jobs at a time, uvloop and coredis without checks at its best, as in its own benchmark; `enqueue_many`."""

import coredis
import uvloop
from streaq import Worker
from timing import HOW, IS_TOLD, PORT, lasting, run, text

SETTINGS = {"single": {"concurrency": 1, "prefetch": 1}, "best": {"concurrency": 32}, "default": {}}
OPTIONS = {} if HOW == "default" else {"ttl": 0, "silent": True}
BULK = 10_000

coredis.Config.optimized = HOW == "best"
worker = Worker(f"redis://127.0.0.1:{PORT}", **SETTINGS[HOW])


@worker.task(name="work", **OPTIONS)
async def work(number: int, text: str) -> None:
    if IS_TOLD:
        await lasting(number)


class Streaq:
    async def open(self) -> None:
        await worker.__aenter__()

    async def register(self, numbers) -> None:
        waiting = [work.enqueue(number, text(number)) for number in numbers]
        if HOW != "best":
            for each in waiting:
                await each
            return
        for at in range(0, len(waiting), BULK):
            await worker.enqueue_many(waiting[at : at + BULK])

    async def serve(self, count) -> None:
        worker.burst = count is not None
        await worker.run_async()

    async def close(self) -> None:
        await worker.__aexit__(None, None, None)


run(Streaq(), uvloop.new_event_loop if HOW == "best" else None)
