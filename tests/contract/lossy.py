"""A link to Redis that loses commands and answers when it is told to."""

from collections import deque
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from sharded_queue.connections import Client, Link
from sharded_queue.coordinators.redis import RedisCoordinator
from sharded_queue.storages.redis import RedisStorage

FINE, COMMAND_LOST, ANSWER_LOST = "fine", "command lost", "answer lost"


class LossyLink(Link):
    """*fates*: what becomes of the next commands, one each; all are fine when it is empty."""

    def __init__(self, redis: Client) -> None:
        super().__init__(redis)
        self.fates: deque[str] = deque()

    async def send(self, key: str, *command: Any, seconds: float) -> Any:
        fate = self.fates.popleft() if self.fates else FINE
        if fate == COMMAND_LOST:
            raise RedisConnectionError("the command was lost")
        answer = await super().send(key, *command, seconds=seconds)
        if fate == ANSWER_LOST:
            raise RedisConnectionError("the answer was lost")
        return answer


def make_lossy(keeper: RedisStorage | RedisCoordinator) -> LossyLink:
    link = LossyLink(keeper.link.redis)
    keeper.link = keeper.scripts.link = link
    return link
