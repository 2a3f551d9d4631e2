"""A link to Redis that loses commands and answers when it is told to."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from sharded_queue.connections import Client, Link
from sharded_queue.coordinators.redis import RedisCoordinator
from sharded_queue.storages.redis import RedisStorage

FINE, COMMAND_LOST, ANSWER_LOST = "fine", "command lost", "answer lost"


class LossyLink(Link):
    """
    *fates*: what becomes of the next commands, one each; all are fine when it is empty. *between* is called once, after
    the next command that is not fine.
    """

    def __init__(self, redis: Client) -> None:
        super().__init__(redis)
        self.fates: deque[str] = deque()
        self.between: Callable[[], Awaitable[Any]] | None = None

    async def send(self, key: str, *command: Any, seconds: float) -> Any:
        fate = self.fates.popleft() if self.fates else FINE
        answer = None if fate == COMMAND_LOST else await super().send(key, *command, seconds=seconds)
        if fate == FINE:
            return answer
        if self.between:
            between, self.between = self.between, None
            await between()
        raise RedisConnectionError(fate)


def make_lossy(keeper: RedisStorage | RedisCoordinator) -> LossyLink:
    link = LossyLink(keeper.link.redis)
    keeper.link = keeper.scripts.link = link
    return link
