"""
What a user's own code does around every registration and every call of a handler.

A middleware can neither lose a request nor change the order of a thread: it gets no say in what is registered and
handled, or in which order. It may only add headers, let an error be the outcome, and take its time.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from sharded_queue.errors import HandlerError
from sharded_queue.handler import Handler, call
from sharded_queue.queue.receipts import Receipts

T = TypeVar("T")
Register = Callable[[Mapping[str, str]], Awaitable[Receipts]]
Handle = Callable[[], Awaitable[None]]
HandlerCall = Callable[[Handler, Sequence[Any]], Awaitable[None]]


class Middleware:
    """
    Subclass it, override `register`, `handle` or both, and give instances to a `Queue`, a `SyncQueue`, a `Worker` or a
    `Sandbox`. The first one of a list is the outermost.

    Each method awaits *call_next* exactly once, in its own asyncio task: `asyncio.timeout` may surround it,
    `asyncio.create_task` and (on Python 3.11) `asyncio.wait_for` may not. A method that returns without it fails. So
    does one that swallows what *call_next* raised, which stays the outcome.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        """
        Raises:
            HandlerError: one of the two methods is not an `async def`.
        """
        super().__init_subclass__(**keywords)
        for name in ("register", "handle"):
            if not inspect.iscoroutinefunction(getattr(cls, name)):
                raise HandlerError(f"{cls.__qualname__}.{name} must be an `async def`")

    async def register(
        self, handler: type[Handler], requests: Sequence[Any], headers: Mapping[str, str], call_next: Register
    ) -> None:
        """
        Called for every registration with at least one request, not for schedules. *call_next* takes the headers to
        register with, and returns the receipts. What this method raises, the caller of `register` gets.
        """
        await call_next(headers)

    async def handle(self, handler: type[Handler], requests: Sequence[Any], call_next: Handle) -> None:
        """
        Called for every call of `perform` or `handle`, with the requests of one tube in their order. `current()` has
        their headers, the lease, and the number of the try.

        What this method raises is a failed try, as if the handler had raised it, even after *call_next* has returned.
        The requests of a batch that fails are handled again one by one, and this method is called for each of them. The
        handler's `timeout_seconds` bounds the handler alone.
        """
        await call_next()


def checked(middleware: Sequence[Middleware]) -> tuple[Middleware, ...]:
    """
    Raises:
        HandlerError: *middleware* has something else than instances of Middleware.
    """
    if isinstance(middleware, Middleware):
        raise HandlerError(f"middleware is {type(middleware).__qualname__}(), not a list: write it in brackets")
    for each in middleware:
        if isinstance(each, type) and issubclass(each, Middleware):
            raise HandlerError(f"middleware has the class {each.__qualname__}: give an instance, {each.__qualname__}()")
        if not isinstance(each, Middleware):
            raise HandlerError(f"middleware has {each!r:.80}: give instances of subclasses of sharded_queue.Middleware")
    return tuple(middleware)


def overriding(method: str, middleware: Sequence[Middleware]) -> list[Middleware]:
    """Those that do something in *method*: the others cost nothing."""
    return [each for each in middleware if getattr(type(each), method) is not getattr(Middleware, method)]


def around_calls(middleware: Sequence[Middleware]) -> HandlerCall:
    """How to call a handler through *middleware*; without any, the plain call."""
    layers = overriding("handle", middleware)
    if not layers:
        return call

    async def handle(handler: Handler, requests: Sequence[Any]) -> None:
        async def called(depth: int) -> None:
            if depth == len(layers):
                return await call(handler, requests)
            method, following = layers[depth].handle, _Next(layers[depth], "handle", lambda: called(depth + 1))
            await method(type(handler), tuple(requests), following)
            return following.outcome()

        await called(0)

    return handle


async def through(
    layers: Sequence[Middleware],
    handler: type[Handler],
    requests: Sequence[Any],
    headers: Mapping[str, str],
    register: Register,
) -> Receipts:
    """Register through *layers*, the first one outermost."""
    if not layers:
        return await register(headers)

    def inner(given: Mapping[str, str]) -> Awaitable[Receipts]:
        return through(layers[1:], handler, requests, given, register)

    following = _Next(layers[0], "register", inner)
    await layers[0].register(handler, requests, headers, following)
    return following.outcome()


class _Next(Generic[T]):
    """The *call_next* of one call of a middleware. It keeps the outcome, whatever the middleware makes of it."""

    __slots__ = ("_call", "_error", "_is_called", "_result", "_task", "_where")

    def __init__(self, middleware: Middleware, method: str, call: Callable[..., Awaitable[T]]) -> None:
        self._where, self._call = (type(middleware).__qualname__, method), call
        self._task, self._is_called = asyncio.current_task(), False
        self._error: BaseException | None = None
        self._result: list[T] = []

    async def __call__(self, *given: Any) -> T:
        if asyncio.current_task() is not self._task:  # it could go on when the middleware has returned
            raise self._mistake("called call_next in another task: await it directly, within asyncio.timeout if needed")
        if self._is_called:
            raise self._mistake("called call_next a second time")
        self._is_called = True
        try:
            result = await self._call(*given)
        except BaseException as error:
            self._error = error
            raise
        self._result.append(result)
        return result

    def outcome(self) -> T:
        """
        Raises:
            HandlerError: *call_next* was not called, or not awaited to its end.
        """
        if self._error is not None:
            raise self._error
        if not self._result:
            raise self._mistake("returned without awaiting call_next, so nothing was done; to refuse, raise an error")
        return self._result[0]

    def _mistake(self, what: str) -> HandlerError:
        return HandlerError(f"{'.'.join(self._where)} {what}")
