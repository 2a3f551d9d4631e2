"""What a worker opens before its first thread, shares with its handlers, and closes after its last one."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any

from sharded_queue.context import sharing
from sharded_queue.errors import HandlerError, ShardedQueueError, describe

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]


class LifespanGuard:
    """Enters and leaves the lifespan of a worker; None: there is none. May be entered again once it was left."""

    def __init__(self, lifespan: Lifespan | None) -> None:
        """
        Raises:
            HandlerError: *lifespan* cannot be called for a context manager.
        """
        if lifespan is not None and (not callable(lifespan) or _is_manager(lifespan)):
            raise HandlerError(
                f"lifespan is {lifespan!r:.80}: give the function or class itself, uncalled, as each loop calls it anew"
            )
        self._lifespan = lifespan
        self._name = getattr(lifespan, "__qualname__", repr(lifespan))
        self._entering: asyncio.Timeout | None = None
        self._is_given_up = False
        self._manager: AbstractAsyncContextManager[Any] | None = None
        self._sharing: AbstractContextManager[None] | None = None

    @property
    def is_entering(self) -> bool:
        return self._entering is not None

    def give_up_entering(self) -> None:
        """The worker stops: it does not wait for what it no longer needs. A lifespan that was entered is left later."""
        self._is_given_up = True
        if self._entering:
            self._entering.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> bool:
        """
        Returns whether the lifespan was entered, or there is none: not if the worker stops.

        Raises:
            ShardedQueueError: entering failed.
        """
        if not self._lifespan:
            return True
        if self._is_given_up:
            return False
        try:
            async with asyncio.timeout(None) as self._entering:
                manager = _made(self._lifespan)
                value = await manager.__aenter__()
        except Exception as error:
            if self._entering and self._entering.expired():
                return False
            raise ShardedQueueError(f"the lifespan {self._name} cannot begin: {describe(error)}") from error
        finally:
            self._entering = None
        self._manager, self._sharing = manager, sharing(value)
        self._sharing.__enter__()
        return True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """
        Never keeps an error of the worker from its caller.

        Raises:
            ShardedQueueError: leaving failed.
        """
        manager, shared, self._manager, self._sharing = self._manager, self._sharing, None, None
        if not manager or not shared:
            return
        try:
            await manager.__aexit__(kind, error, trace)
        except Exception as failure:
            if failure is error:
                return
            raise ShardedQueueError(f"the lifespan {self._name} failed at its end: {describe(failure)}") from failure
        finally:
            shared.__exit__(None, None, None)


def _made(lifespan: Lifespan) -> AbstractAsyncContextManager[Any]:
    manager = lifespan()
    if not _is_manager(manager):
        raise TypeError("it returns no async context manager; is a function with `yield` lacking @asynccontextmanager?")
    return manager


def _is_manager(value: object) -> bool:
    return not isinstance(value, type) and hasattr(value, "__aenter__") and hasattr(value, "__aexit__")
