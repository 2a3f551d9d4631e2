"""A link to Redis that loses commands and answers when it is told to."""

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from sharded_queue.backends.redis.client import Client
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.backends.redis.link import Link
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.errors import StorageUnavailable

FINE, COMMAND_LOST, ANSWER_LOST, HELD_UP = "fine", "command lost", "answer lost", "held up"
GIVEN_UP = "given up"
"""Not sent again: the caller's time is over."""


class LossyLink(Link):
    """
    *fates*: what becomes of the next commands, one each; all are fine when it is empty. *between* is called once, after
    the next command that is not fine. *held_up*: commands that have yet to arrive. *spares_reads*: fates are those of
    scripts alone.
    """

    def __init__(self, redis: Client) -> None:
        super().__init__(redis)
        self.fates: deque[str] = deque()
        self.held_up: deque[tuple[str, tuple[Any, ...]]] = deque()
        self.spares_reads = False
        self.between: Callable[[], Awaitable[Any]] | None = None

    async def send(self, key: str, *command: Any, seconds: float) -> Any:
        is_spared = command[0] == "SCRIPT" or (self.spares_reads and command[0] != "EVALSHA")
        fate = self.fates.popleft() if self.fates and not is_spared else FINE
        if fate == HELD_UP:
            self.held_up.append((key, command))
        try:
            answer = await super().send(key, *command, seconds=seconds) if fate in (FINE, ANSWER_LOST) else None
        except NoScriptError:  # it did nothing, and comes again
            self.fates.extendleft([fate] if fate == ANSWER_LOST else [])
            raise
        if fate == FINE:
            return answer
        if fate == GIVEN_UP:
            raise StorageUnavailable("no answer in time")
        if self.between:
            between, self.between = self.between, None
            await between()
        raise RedisConnectionError(fate)

    async def arrive(self, *, keep: bool = False) -> None:
        """The command that was held up longest arrives, and its answer is not read. *keep*: it will come again."""
        key, command = self.held_up[0] if keep else self.held_up.popleft()
        with suppress(NoScriptError):
            await super().send(key, *command, seconds=5)


def make_lossy(keeper: RedisStorage | RedisCoordinator) -> LossyLink:
    link = LossyLink(keeper.link.redis)
    keeper.link = keeper.scripts.link = link
    return link
