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

    async def paused(question: Question) -> Any:
        return [thread for shard in handler(question).shards for thread in await storage.paused(shard)]

    async def workers(question: Question) -> Any:
        return [await worker_list.known(storage, state) for state in observed(question.handler)]

    def tube(asked: Question) -> Tube:
        return Tube(handler(asked).shard_of(asked.thread), asked.thread, asked.number)

    return {
        "workers": workers,
        "explain": lambda asked: storage.explain(tube(asked).shard, asked.thread),
        "peek": lambda asked: storage.peek(tube(asked), PEEKED, asked.after),
        "letters": lambda asked: letter_list.newest(storage, handler(asked), LETTERS),
        "delayed": lambda asked: delayed_requests.next_first(storage, handler(asked), DELAYED),
        "schedules": lambda asked: schedule_list.next_first(storage, handler(asked)),
        "paused": paused,
    }
