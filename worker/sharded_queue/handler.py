"""
What a user writes: how requests are routed, and what happens to a batch of them.

Every subclass is known by its name as soon as it is defined. Workers look their handlers up by name, so a name found in
Redis never causes an import.
"""

import asyncio
import inspect
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent import futures
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, get_args, get_origin, get_type_hints
from weakref import WeakValueDictionary

from typing_extensions import TypeVar

from sharded_queue.errors import HandlerError, HandlerNotFound
from sharded_queue.misspelt import misspelt_attributes
from sharded_queue.outcomes import GiveUp, Snooze
from sharded_queue.route import KeyRoute, Route
from sharded_queue.serializer import Serializer
from sharded_queue.settings import LONGEST_TURN_SECONDS, MOST_BATCH_SIZE, settings
from sharded_queue.shapes import check_shapes
from sharded_queue.tube import HANDLER_NAME, Shard, shard_of, shards_of, threads_fault

log = logging.getLogger("sharded_queue")
LEAST_AGEING_SECONDS, MOST_AGEING_SECONDS = 0.001, 31_536_000
LONGEST_WINDOW_SECONDS = 2_592_000
LONGEST_TIMEOUT_SECONDS = 31_536_000
MOST_OS_THREADS = 10_000
MOST_TRIES, LONGEST_BACK_OFF_SECONDS = 1_000_000, 31_536_000
RETRY_BOUNDS = "a Retry, or None for that of the settings"
AGEING_BOUNDS = f"a number from {LEAST_AGEING_SECONDS} to {MOST_AGEING_SECONDS:,} (a year), or 0 for no ageing"
TIMEOUT_BOUNDS = f"a number above 0 and up to {LONGEST_TIMEOUT_SECONDS:,}, or None for no bound"
OWN_BOUNDS = {
    "batch_size": f"a whole number from 1 to {MOST_BATCH_SIZE:,}, or None for that of the settings",
    "turn_seconds": f"a number above 0 and up to {LONGEST_TURN_SECONDS:,}, or None for that of the settings",
    "linger_seconds": f"a number from 0 to {LONGEST_TURN_SECONDS:,}, or None for that of the settings",
}
"""Attributes over settings, and the bounds of these."""
WINDOW_BOUNDS = f"a number from 0 (off) to {LONGEST_WINDOW_SECONDS} (30 days)"

R = TypeVar("R", default=Any)
"""What a handler takes as a request. `Handler` alone is a `Handler[Any]`."""
N = TypeVar("N", bound=float)
"""The value of an attribute over a setting."""

_known: WeakValueDictionary[str, "type[Handler]"] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class Retry:
    """
    What happens to a request that fails: its thread waits `base · 2^(attempt-1)` seconds, at most *cap*, shortened by a
    random part of at most *jitter* (0 to 1). After *limit* tries the request is exhausted.

    What is left out is that of the settings, when the `Retry` is made: `QUEUE_RETRY_LIMIT`, `QUEUE_RETRY_BASE` (at most
    *cap*), `QUEUE_RETRY_CAP` (at least *base*) and `QUEUE_RETRY_EXHAUSTED`.

    *exhausted*: `"dead_letter"` makes an exhausted request a dead letter, and its thread goes on without it. `"pause"`
    stops the thread, with the request in its place and all others behind it, until a person resumes the thread.

    *give_up_on*: a type of errors, or a tuple of them, that no other try would mend: the request is exhausted
    at once. *max_snoozes*: how often in a row a request may `Snooze` before it is exhausted; None for no bound.

    Raises:
        HandlerError: a number is out of bounds, *give_up_on* holds what is no type of errors, or *exhausted* is another
            word.
    """

    limit: int = field(default_factory=lambda: settings.retry_limit)
    base_seconds: float = None  # type: ignore[assignment]
    cap_seconds: float = None  # type: ignore[assignment]
    jitter: float = 0.1
    give_up_on: type[BaseException] | tuple[type[BaseException], ...] = ()
    max_snoozes: int | None = None
    exhausted: Literal["dead_letter", "pause"] = field(default_factory=lambda: settings.retry_exhausted)

    def __post_init__(self) -> None:
        _check_count("limit", self.limit)
        if self.max_snoozes is not None:
            _check_count("max_snoozes", self.max_snoozes)
        _check_types(self.give_up_on)
        if self.exhausted not in ("dead_letter", "pause"):
            raise HandlerError(f"Retry: exhausted is {self.exhausted!r:.80}: 'dead_letter' or 'pause'")
        for name in ("base_seconds", "cap_seconds"):
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name), 0, LONGEST_BACK_OFF_SECONDS)
        _check_number("jitter", self.jitter, 0, 1)
        if self.cap_seconds is None:
            object.__setattr__(self, "cap_seconds", max(settings.retry_cap, self.base_seconds or 0))
        if self.base_seconds is None:
            object.__setattr__(self, "base_seconds", min(settings.retry_base, self.cap_seconds))
        if self.cap_seconds < self.base_seconds:
            raise HandlerError(
                f"Retry: cap_seconds is {self.cap_seconds!r}, less than base_seconds, {self.base_seconds!r}: "
                "the longest wait is at least the first one"
            )


def _check_count(name: str, count: object) -> None:
    _check_number(name, count, 1, MOST_TRIES)
    if not isinstance(count, int):
        raise HandlerError(f"Retry: {name} is {count!r}: a whole number")


def _check_types(types: object) -> None:
    for each in types if isinstance(types, tuple) else (types,):
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise HandlerError(f"Retry: give_up_on has {each!r:.80}: types of errors, such as (ValueError,)")


def _check_number(name: str, number: object, least: float, most: float) -> None:
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or not least <= number <= most:  # type: ignore[operator]
        raise HandlerError(f"Retry: {name} is {number!r}: a number from {least:g} to {most:,}")


class Handler(Generic[R]):
    """
    Subclass `Handler[Charge]`, where `Charge` is the type of its requests, define `perform` (or `handle`), and register
    requests by the class. A type checker then refuses other requests for it, and `register` does when it is called.

    The type may be left out: requests are then read as `perform` (or `handle`) annotates them, or as any JSON value,
    and a type checker accepts all.

    *name*: what the queue and the workers call it; `module.ClassName` by default.
    *shards*: the number of hash tags that its threads are spread over; one handler needs several to use several nodes
    of a Redis Cluster. Never change it while requests wait.
    *threads*: the number of threads that the keys of `KeyRoute`s are spread over at first, a multiple of *shards*. From
    the first registration on, the number is kept with the requests, and `Queue.reshard` changes it. None if `route`
    names threads.
    *capacity*: the most requests that one tube may hold, from 1, before `register` raises `QueueFull`; None for no
    bound. A delayed request counts from when it has joined its tube, and joins it even if it is full.
    *retry*: by default, the settings `retry_…`.
    *ageing_seconds*: a tube's priority number drops by one for every `ageing_seconds` its oldest request has waited, so
    that no priority of a thread starves; 0 disables ageing.
    *batch_size*, *turn_seconds*, *linger_seconds*: of this handler, in place of the settings `worker_batch_size`,
    `worker_turn`, and `worker_empty_limit` times `worker_empty_pause`. None for those of the settings.
    *deduplicate_seconds*: how long a request keeps others of its `identity` from being registered; 0 disables it. Costs
    Redis about 230 bytes a request for that time, and 6 µs in the step that registers it.
    *timeout_seconds*: bounds a call of `perform` or `handle`, and so a request: a longer call is cancelled, and counts
    as a failed try. The handler gets as many requests at a time as fit into half of it. None for no bound. Only for
    `async def`: a plain `def` runs in an OS thread, which cannot be stopped, and a second try beside it would break the
    order.

    All methods of an instance, from `create` to `stop`, are called one after another in one context (of contextvars).
    If the handler overrides `create`, `start` or `stop`, they are also called in one asyncio task: a TaskGroup, a
    timeout or a cancel scope may be opened in `start` and closed in `stop`. If one of those cancels its task, the batch
    in hand fails.
    """

    name: ClassVar[str]
    shards: ClassVar[int] = 1
    threads: ClassVar[int | None] = None
    capacity: ClassVar[int | None] = None
    retry: ClassVar[Retry | None] = None
    ageing_seconds: ClassVar[float] = 0.0
    deduplicate_seconds: ClassVar[float] = 0
    timeout_seconds: ClassVar[float | None] = None
    batch_size: ClassVar[int | None] = None
    turn_seconds: ClassVar[float | None] = None
    linger_seconds: ClassVar[float | None] = None
    _serializer: ClassVar[Serializer | None] = None
    _method: ClassVar[str] = "perform"
    _is_async: ClassVar[bool] = True
    _misspelt: ClassVar[Sequence[str]] = ()
    has_lifecycle: ClassVar[bool] = False
    """Whether the handler overrides `create`, `start` or `stop`."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        """
        Raises:
            HandlerError: an attribute is out of bounds, or a method has a shape that a worker could not call.
        """
        super().__init_subclass__(**keywords)
        if "name" not in cls.__dict__:
            cls.name = f"{_module_name(cls)}.{cls.__qualname__}".replace(".<locals>", "")
        if not isinstance(cls.name, str) or not HANDLER_NAME.match(cls.name):
            raise HandlerError(f"handler name {cls.name!r} must be letters, digits and ._- only, at most 200")
        if type(cls.shards) is not int or not 1 <= cls.shards <= 64:
            raise HandlerError(f"{cls.name}.shards is {cls.shards!r}: a whole number from 1 to 64")
        if cls.threads is not None and (fault := threads_fault(cls.threads, cls.shards)):
            raise HandlerError(f"{cls.name}.threads is {fault}")
        _check_capacity(cls)
        if not _is_ageing(cls.ageing_seconds):
            raise HandlerError(f"{cls.name}.ageing_seconds is {cls.ageing_seconds!r}: {AGEING_BOUNDS}")
        if not isinstance(cls.retry, Retry | None):
            raise HandlerError(f"{cls.name}.retry is {cls.retry!r}: {RETRY_BOUNDS}")
        if not is_window(cls.deduplicate_seconds):
            raise HandlerError(f"{cls.name}.deduplicate_seconds is {cls.deduplicate_seconds!r}: {WINDOW_BOUNDS}")
        _check_own(cls)
        cls._misspelt = [f"{cls.name}.{sentence}" for sentence in misspelt_attributes(cls)]
        for sentence in cls._misspelt:
            log.warning("%s", sentence)
        check_shapes(cls, Handler)
        cls._serializer = None
        cls._method = "perform" if cls.handle is Handler.handle else "handle"
        cls._is_async = not _defined(cls) or inspect.iscoroutinefunction(getattr(cls, cls._method))
        _check_timeout(cls)
        cls.has_lifecycle = _lifecycle(cls) != _lifecycle(Handler)
        if cls.perform is not Handler.perform or cls.handle is not Handler.handle:
            _known[cls.name] = cls

    @classmethod
    async def create(cls) -> Self:
        """Make the handler. Inject its dependencies here; `shared` has what the lifespan of its worker yielded."""
        return cls()

    @classmethod
    async def route(cls, *requests: R) -> Sequence[Route | KeyRoute]:
        """
        One route per request, in their order; by default all share one thread. A handler with *threads* returns only
        `KeyRoute`s, any other handler only `Route`s.
        """
        return [Route(settings.default_thread, settings.default_priority)] * len(requests)

    @classmethod
    def identity(cls, request: R) -> str | None:
        """
        What makes two requests the same for `deduplicate_seconds`; None: the encoded request.

        With several shards, requests are compared only within their shard: route those with the same identity to one
        thread.
        """
        return None

    @classmethod
    def redact(cls, request: Any) -> Any:
        """
        What `sharded-queue web` shows of a request: for example, without personal data. *request* is the JSON value
        that it is stored as, and so is what is returned.
        """
        return request

    async def start(self) -> None:
        """
        Called when a worker has bound a thread for this instance.

        If it raises, the thread waits and is tried again with a new instance. `stop` is not called then: as with
        `__enter__` and `__exit__`, a `start` that fails cleans up after itself.
        """

    def perform(self, *requests: R) -> Awaitable[None] | None:
        """Handle requests of one tube, in their order. An `async def`, or a plain one, which runs in an OS thread."""
        raise NotImplementedError

    async def handle(self, *requests: R) -> None:
        """Handle a batch; calls `perform` by default. Define one of the two."""
        result = self.perform(*requests)
        if result is not None:
            await result

    async def stop(self) -> None:
        """Called once after a `start` that returned, when the thread is drained or given up, even after an error."""

    @classmethod
    def serializer(cls) -> Serializer:
        """
        What encodes and decodes its requests.

        Raises:
            HandlerError: it defines neither `perform` nor `handle`, or its request type cannot be resolved.
        """
        if cls._serializer is None:
            cls._serializer = Serializer(request_type(cls))
        return cls._serializer

    @classmethod
    def policy(cls) -> Retry:
        """Its *retry*, or that of the settings."""
        if isinstance(cls.retry, Retry):
            return cls.retry
        if cls.retry is not None:
            _log_ignored(cls.name, "retry", repr(cls.retry), RETRY_BOUNDS)
        return Retry()

    @classmethod
    def on_error(cls, error: BaseException, attempt: int) -> Retry | GiveUp | Snooze | None:
        """
        What becomes of a request that failed alone with *error* at its *attempt* (from 1): a `Retry` to try it again
        by, a `GiveUp`, a `Snooze`, or None for what `policy` says. Not asked where `perform` raised one of the two.
        """
        return None

    @classmethod
    def shard_of(cls, thread: str) -> Shard:
        """The shard that *thread* belongs to."""
        return shard_of(cls.name, thread, cls.shards)

    @classmethod
    def all_shards(cls) -> list[Shard]:
        """Its shards, as many as *shards* says."""
        return list(shards_of(cls.name, cls.shards))


def call(handler: Handler, requests: Sequence[Any]) -> Awaitable[None]:
    """
    Let *handler* handle a batch: in this task, or in an OS thread if its method is a plain function.

    Raises:
        TimeoutError: it was cancelled after its `timeout_seconds`. Whatever the handler raises is raised as well.
    """
    seconds = timeout_of(handler)
    return _call(handler, requests) if seconds is None else _call_bounded(handler, requests, seconds)


async def _call_bounded(handler: Handler, requests: Sequence[Any], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds) as limit:
            await _call(handler, requests)
    except TimeoutError as error:
        if limit.expired():
            raise TimeoutError(f"not done after timeout_seconds = {seconds:g}") from error
        raise


def _call(handler: Handler, requests: Sequence[Any]) -> Awaitable[None]:
    method = getattr(handler, handler._method)
    return method(*requests) if handler._is_async else _call_in_os_thread(method, requests)


async def _call_in_os_thread(method: Callable[..., Any], requests: Sequence[Any]) -> None:
    call = _os_threads().submit(copy_context().run, method, *requests)
    _os_thread_calls.add(call)
    call.add_done_callback(_os_thread_calls.discard)
    result = await asyncio.wrap_future(call)
    if inspect.isawaitable(result):  # a decorator hid a coroutine function
        await result


_os_thread_calls: "set[futures.Future[Any]]" = set()


def os_thread_calls() -> "list[futures.Future[Any]]":
    """The calls that run in OS threads, with those that nobody waits for any more: an OS thread cannot be stopped."""
    return list(_os_thread_calls)


@cache
def _os_threads() -> "futures.ThreadPoolExecutor":
    """
    As many OS threads as workers call handlers at a time. The event loop's own executor has few where there are few
    CPUs, and threads of requests would wait for one that another worker has room for.
    """
    return futures.ThreadPoolExecutor(MOST_OS_THREADS, "sharded-queue-handler")


def runs_in_os_thread(handler: type[Handler]) -> bool:
    """Whether calls of *handler* go on while the event loop is blocked."""
    return not handler._is_async


def _check_timeout(handler: type[Handler]) -> None:
    if not _is_timeout(handler.timeout_seconds):
        raise HandlerError(f"{handler.name}.timeout_seconds is {handler.timeout_seconds!r}: {TIMEOUT_BOUNDS}")
    if handler.timeout_seconds is not None and not handler._is_async:
        raise HandlerError(
            f"{handler.name}.timeout_seconds needs an `async def {handler._method}`: the OS thread of a plain one "
            "cannot be stopped"
        )


def _is_number(value: object, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _is_timeout(seconds: object) -> bool:
    return seconds is None or (seconds != 0 and _is_number(seconds, 0, LONGEST_TIMEOUT_SECONDS))


def _is_ageing(seconds: object) -> bool:
    return _is_number(seconds, 0, 0) or _is_number(seconds, LEAST_AGEING_SECONDS, MOST_AGEING_SECONDS)


def _check_own(handler: type[Handler]) -> None:
    for attribute, bounds in OWN_BOUNDS.items():
        if not _is_own(attribute, getattr(handler, attribute)):
            raise HandlerError(f"{handler.name}.{attribute} is {getattr(handler, attribute)!r}: {bounds}")


def _is_own(attribute: str, value: object) -> bool:
    if value is None:
        return True
    if attribute == "batch_size":
        return isinstance(value, int) and _is_number(value, 1, MOST_BATCH_SIZE)
    return _is_number(value, 0, LONGEST_TURN_SECONDS) and (attribute == "linger_seconds" or value != 0)


def batch_size_of(handler: type[Handler] | None) -> int:
    """The most requests of one call: its *batch_size*, or that of the settings."""
    return settings.worker_batch_size if handler is None else _own(handler, "batch_size", settings.worker_batch_size)


def turn_of(handler: type[Handler]) -> float:
    """Seconds that a thread stays with a worker while others wait."""
    return _own(handler, "turn_seconds", settings.worker_turn)


def linger_of(handler: type[Handler]) -> float:
    """Seconds that a worker keeps a drained thread for its next request."""
    return _own(handler, "linger_seconds", settings.linger_seconds)


def _own(handler: type[Handler], attribute: str, usual: N) -> N:
    """An attribute over a setting; the setting if a value was put there later that cannot be one, which is logged."""
    value: N | None = getattr(handler, attribute)
    if _is_own(attribute, value):
        return usual if value is None else value
    _log_ignored(handler.name, attribute, repr(value), OWN_BOUNDS[attribute])
    return usual


def ageing_of(handler: type[Handler]) -> float:
    """Its *ageing_seconds*; 0 if a value was put there later that cannot be one, which is logged."""
    if _is_ageing(handler.ageing_seconds):
        return handler.ageing_seconds
    _log_ignored(handler.name, "ageing_seconds", repr(handler.ageing_seconds), AGEING_BOUNDS)
    return 0.0


def timeout_of(handler: Handler | type[Handler]) -> float | None:
    """Its *timeout_seconds*; None if a value was put there later that cannot be one, which is logged."""
    if _is_timeout(handler.timeout_seconds):
        return handler.timeout_seconds
    _log_ignored(handler.name, "timeout_seconds", repr(handler.timeout_seconds), TIMEOUT_BOUNDS)
    return None


def checked_policy(handler: type[Handler]) -> Retry:
    """
    Raises:
        HandlerError: its `policy` returned something else. Whatever it raises is raised as well.
    """
    policy: object = handler.policy()
    if isinstance(policy, Retry):
        return policy
    raise HandlerError(f"{handler.name}.policy returned {policy!r:.80}, not a Retry")


@lru_cache(maxsize=1000)
def _log_ignored(handler: str, attribute: str, value: str, bounds: str) -> None:
    """Once, however many calls read the attribute."""
    log.error("%s.%s was set to %s, and is ignored: %s", handler, attribute, value, bounds)


def misspelt_in(handlers: Sequence[type[Handler]]) -> list[str]:
    """A sentence for each attribute of these classes and their bases that is misspelt and so has no effect."""
    classes = dict.fromkeys(base for handler in handlers for base in handler.__mro__ if issubclass(base, Handler))
    return [sentence for each in classes for sentence in each.__dict__["_misspelt"]]


def check_handler(handler: object) -> None:
    """
    Raises:
        HandlerError: *handler* is not a subclass of Handler.
    """
    if isinstance(handler, type) and issubclass(handler, Handler):
        return
    given = f"the class {handler.__qualname__}" if isinstance(handler, type) else f"{handler!r:.80}"
    hint = ": give its class" if isinstance(handler, Handler) else ""
    hint = ": import the class, and give that" if isinstance(handler, str) else hint
    raise HandlerError(f"{given} is not a handler, which is a subclass of Handler{hint}")


def _lifecycle(handler: type[Handler]) -> tuple[object, ...]:
    return getattr(handler.create, "__func__", handler.create), handler.start, handler.stop


def is_window(seconds: object) -> bool:
    """Whether *seconds* can be a window for duplicates."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return False
    return 0 <= seconds <= LONGEST_WINDOW_SECONDS


def _module_name(handler: type[Handler]) -> str:
    """The name by which others import the module: a module run as a program is called `__main__`."""
    if handler.__module__ != "__main__":
        return handler.__module__
    main = sys.modules["__main__"]
    if spec := getattr(main, "__spec__", None):
        return str(spec.name).removesuffix(".__main__")
    return Path(getattr(main, "__file__", None) or "__main__").stem


def request_type(handler: type[Handler]) -> Any:
    """
    What the handler takes as a request: the type in `Handler[…]`; without one, the annotation of the requests of
    `handle` or `perform`, whichever the handler defines; without that, Any.

    Raises:
        HandlerError: neither method is defined, or the type cannot be resolved.
    """
    defined = _defined(handler)
    if not defined:
        raise HandlerError(f"{handler.name} defines neither perform nor handle")
    if (declared := _declared(handler)) is not None:
        return declared
    for method in defined:
        star = _star(method)
        if star and star.annotation is not inspect.Parameter.empty and not isinstance(star.annotation, TypeVar):
            return _resolved(handler, method, star.name)
    return Any


def _declared(handler: type[Handler]) -> Any:
    """The type in `Handler[…]`, which a base class may leave open for its subclasses; None if there is none."""
    declared = _argument(handler)
    return None if isinstance(declared, TypeVar) else declared


def _argument(handler: type[Handler]) -> Any:
    for base in handler.__dict__.get("__orig_bases__", handler.__bases__):
        origin, arguments = get_origin(base) or base, get_args(base)
        if origin is Handler and arguments:
            return _evaluated(handler, arguments[0])
        if isinstance(origin, type) and issubclass(origin, Handler) and origin is not Handler:
            given = dict(zip(origin.__parameters__, arguments, strict=False))  # type: ignore[attr-defined]
            if (filled := _filled(_argument(origin), given)) is not None:
                return _evaluated(handler, filled)
    return None


def _filled(annotation: Any, given: dict[Any, Any]) -> Any:
    """*annotation* with the types given for its parameters; None if some are left open in all places."""
    if isinstance(annotation, TypeVar):
        return given.get(annotation)
    if parameters := getattr(annotation, "__parameters__", ()):
        return annotation[tuple(given.get(each, Any) for each in parameters)]
    return annotation


def _evaluated(handler: type[Handler], annotation: Any) -> Any:
    """*annotation* with the names in it, as in `Handler["Charge"]`, looked up in the handler's module."""

    def holder() -> None: ...

    holder.__annotations__ = {"request": annotation}
    names = getattr(sys.modules.get(handler.__module__), "__dict__", {})  # code that is executed may have no module
    try:
        return get_type_hints(holder, names, include_extras=True)["request"]
    except NameError as error:
        raise _unknown_type(handler, annotation) from error


def _unknown_type(handler: type[Handler], annotation: Any) -> HandlerError:
    return HandlerError(f"{handler.name}: its module does not know the request type {annotation!r}")


def _defined(handler: type[Handler]) -> list[Any]:
    """The methods of a handler that take a batch. It needs at least one."""
    own = {"handle": handler.handle is not Handler.handle, "perform": handler.perform is not Handler.perform}
    return [getattr(handler, name) for name, is_own in own.items() if is_own]


def _star(method: Any) -> inspect.Parameter | None:
    return next((p for p in inspect.signature(method).parameters.values() if p.kind is p.VAR_POSITIONAL), None)


def _check_capacity(handler: type[Handler]) -> None:
    capacity = handler.capacity
    if capacity is not None and (type(capacity) is not int or capacity < 1):
        raise HandlerError(
            f"{handler.name}.capacity is {capacity!r}: requests that a tube may hold, from 1, or None for no bound"
        )


def _resolved(handler: type[Handler], method: Any, parameter: str) -> Any:
    annotation = inspect.signature(method).parameters[parameter].annotation
    if not isinstance(annotation, str):
        return annotation
    try:
        return get_type_hints(method, include_extras=True)[parameter]
    except NameError as error:
        raise _unknown_type(handler, annotation) from error


def known() -> dict[str, type[Handler]]:
    """Every handler defined in this process, by name."""
    return dict(_known)


def find(name: str) -> type[Handler]:
    """
    Raises:
        HandlerNotFound: no handler of that name was defined in this process.
    """
    if handler := _known.get(name):
        return handler
    listed = ", ".join(sorted(_known)) or "none"
    raise HandlerNotFound(f"no handler is named {name!r}; known here: {listed}")


def shards(handlers: dict[str, type[Handler]]) -> Iterator[Shard]:
    for handler in handlers.values():
        yield from handler.all_shards()
