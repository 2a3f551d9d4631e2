"""The baseline of the engine: the few Redis commands that do the same job without any of its guarantees."""

from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from bench.load import BATCH, STAMP, Run, Small, Stopwatch, decode, encode, requests
from sharded_queue.backends.redis.link import Link


async def fill(redis: Redis, count: int, threads: int) -> list[str]:
    """Put the same messages into one list per thread. Returns the names of the lists."""
    keys = [f"bare:{thread}" for thread in range(threads)]
    for thread, key in enumerate(keys):
        await redis.rpush(key, *[STAMP + encode(request) for request in requests(count)[thread::threads]])
    return keys


async def handle(redis: Redis, keys: list[str], count: int) -> Run:
    """LRANGE and LTRIM in one pipeline of redis-py, list after list, each message decoded."""

    async def fetch(key: str) -> list[bytes]:
        pipeline = redis.pipeline(transaction=False)
        pipeline.lrange(key, 0, BATCH - 1)
        pipeline.ltrim(key, BATCH, -1)
        messages: list[bytes] = (await pipeline.execute())[0]
        return messages

    return await _handle(fetch, keys, count)


async def handle_lean(redis: Redis, keys: list[str], count: int) -> Run:
    """The same two commands without redis-py's pipeline around them: packed by hiredis, sent as the engine sends."""
    link = Link(redis)

    async def fetch(key: str) -> list[bytes]:
        commands = [("LRANGE", key, 0, BATCH - 1), ("LTRIM", key, BATCH, -1)]
        messages: list[bytes] = (await link.send_all(key, commands, seconds=5.0))[0]
        return messages

    return await _handle(fetch, keys, count)


async def _handle(fetch: Callable[[str], Awaitable[list[bytes]]], keys: list[str], count: int) -> Run:
    handled = 0

    async def perform(*requests: object) -> None:
        nonlocal handled
        handled += len(requests)

    watch = Stopwatch()
    for key in keys:
        messages = [b""] * BATCH
        while len(messages) == BATCH:
            messages = await fetch(key)
            await perform(*[decode(message[len(STAMP) :]) for message in messages])
    run = watch.run(count)
    if handled != count:
        raise RuntimeError(f"{handled} of {count} bare messages were handled: this measured something else")
    return run


async def register(redis: Redis, groups: dict[str, list[Small]], count: int) -> Run:
    """Encode and RPUSH, one command a list."""
    watch = Stopwatch()
    pipeline = redis.pipeline(transaction=False)
    for key, group in groups.items():
        pipeline.rpush(key, *[STAMP + encode(request) for request in group])
    await pipeline.execute()
    return watch.run(count)


async def fill_each(redis: Redis, count: int) -> list[str]:
    """A list for each message."""
    pipeline = redis.pipeline(transaction=False)
    for request in requests(count):
        pipeline.rpush(f"bare:{request.number}", STAMP + encode(request))
    await pipeline.execute()
    return [f"bare:{number}" for number in range(count)]
