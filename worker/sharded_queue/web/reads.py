"""How each kind of question is asked: bounded calls of the storage, the same as the commands make."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sharded_queue.admin import delayed as delayed_requests
from sharded_queue.admin import schedules as schedule_list
from sharded_queue.admin import search as letter_list
from sharded_queue.admin import workers as worker_list
from sharded_queue.admin.handlers import Named
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.errors import HandlerNotFound
from sharded_queue.printable import printable
from sharded_queue.state import ShardState
from sharded_queue.tube import Tube
from sharded_queue.web.details import Question

PEEKED = 20
"""Requests of a tube that a page shows."""
LETTERS = 1000
"""The newest dead letters that a search looks through: ten reads of a hundred."""
PAGE = 100
DELAYED = 100


def reads_of(
    storage: RedisStorage,
    named: Callable[[str], Named | None],
    observed: Callable[[str], Sequence[ShardState]],
) -> Mapping[str, Callable[[Question], Awaitable[Any]]]:
    """*named*: the handler of a name, with its shards. *observed*: what was last read of them."""

    def handler(question: Question) -> Named:
        found = named(question.handler)
        if found is None:
            raise HandlerNotFound(f"this console knows no handler {printable(question.handler, 200)!r}")
        return found

    async def explain(question: Question) -> Any:
        return await storage.explain(handler(question).shard_of(question.thread), question.thread)

    async def peek(question: Question) -> Any:
        shard = handler(question).shard_of(question.thread)
        return await storage.peek(Tube(shard, question.thread, question.number), PEEKED, question.after)

    async def letters(question: Question) -> Any:
        return await letter_list.newest(storage, handler(question), LETTERS)

    async def delayed(question: Question) -> Any:
        return await delayed_requests.next_first(storage, handler(question), DELAYED)

    async def schedules(question: Question) -> Any:
        return await schedule_list.next_first(storage, handler(question))

    async def paused(question: Question) -> Any:
        return [thread for shard in handler(question).shards for thread in await storage.paused(shard)]

    async def workers(question: Question) -> Any:
        return [await worker_list.known(storage, state) for state in observed(question.handler)]

    return {
        "workers": workers,
        "explain": explain,
        "peek": peek,
        "letters": letters,
        "delayed": delayed,
        "schedules": schedules,
        "paused": paused,
    }
