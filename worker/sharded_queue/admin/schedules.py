"""Requests that recur."""

from sharded_queue.admin.handlers import Named
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.state import Upcoming


async def next_first(storage: RedisStorage, handler: Named) -> list[Upcoming]:
    found = [schedule for shard in handler.shards for schedule in await storage.schedules(shard)]
    return sorted(found, key=lambda schedule: schedule.next_ms)
