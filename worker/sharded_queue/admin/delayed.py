"""Requests that are not due yet."""

from sharded_queue.admin.handlers import Named
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.state import Delayed


async def next_first(storage: RedisStorage, handler: Named, count: int) -> list[Delayed]:
    waiting = [each for shard in handler.shards for each in await storage.delayed(shard, count)]
    return sorted(waiting, key=lambda each: each.due_ms)[:count]
