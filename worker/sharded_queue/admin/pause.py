"""Pause and resume handlers and threads, and list what is paused."""

from sharded_queue.admin import answers
from sharded_queue.admin.handlers import HandlerSelection, Named
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.route import Route, checked
from sharded_queue.tube import Shard


async def list_paused(storage: RedisStorage, sought: HandlerSelection) -> list[answers.Paused]:
    shards = await sought.shards(storage)
    states = await storage.observe(shards, 0)
    whole = dict.fromkeys(state.shard.handler for state in states if state.is_paused)
    listed = [answers.Paused(handler=handler, thread=None) for handler in whole]
    for shard in shards:
        acts = await storage.acts(shard)
        threads = await storage.paused(shard)
        listed += [answers.Paused(handler=shard.handler, thread=each, act=acts.get(each)) for each in threads]
    return listed


async def set_paused(storage: RedisStorage, handler: Named, thread: str | None, *, is_paused: bool) -> bool:
    """
    Raises:
        RouteError: no request can have this thread. One that was paused in spite of that can be resumed.
    """
    if thread is not None and is_paused:
        checked(Route(thread))
    shards: list[Shard] = [handler.shard_of(thread)] if thread else handler.shards
    return any([await storage.pause(shard, thread, is_paused) for shard in shards])
