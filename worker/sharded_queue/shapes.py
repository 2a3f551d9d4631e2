"""Whether a worker and a queue can call the methods of a handler as they are written."""

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

from sharded_queue.errors import HandlerError


class Shape(NamedTuple):
    """What a method must look like. *is_async*: None if both `async def` and a plain `def` will do."""

    text: str
    is_classmethod: bool
    is_async: bool | None
    takes: str | None = None


BATCH, FAILED = "*requests", "error, attempt"
SHAPES = {
    "create": Shape("@classmethod async def create(cls)", is_classmethod=True, is_async=True),
    "route": Shape("@classmethod async def route(cls, *requests)", is_classmethod=True, is_async=True, takes=BATCH),
    "identity": Shape("@classmethod def identity(cls, request)", is_classmethod=True, is_async=False, takes="request"),
    "on_error": Shape(
        "@classmethod def on_error(cls, error, attempt)", is_classmethod=True, is_async=False, takes=FAILED
    ),
    "start": Shape("async def start(self)", is_classmethod=False, is_async=True),
    "perform": Shape("async def perform(self, *requests)", is_classmethod=False, is_async=None, takes=BATCH),
    "handle": Shape("async def handle(self, *requests)", is_classmethod=False, is_async=None, takes=BATCH),
    "stop": Shape("async def stop(self)", is_classmethod=False, is_async=True),
}


def check_shapes(handler: type[Any], base: type[Any]) -> None:
    """
    Compare the methods that *handler* overrides with what calls them. Only plain functions, class methods and static
    methods are looked at: what another object does when it is called cannot be known before.

    Raises:
        HandlerError: a method cannot be called, or calling it would not do what it says. Names the method.
    """
    for name, shape in SHAPES.items():
        method = inspect.getattr_static(handler, name)
        is_overridden = method is not inspect.getattr_static(base, name)
        if not (is_overridden and isinstance(method, FunctionType | classmethod | staticmethod)):
            continue
        is_function = isinstance(method, FunctionType)
        function = inspect.unwrap(method if isinstance(method, FunctionType) else method.__func__)
        is_own = getattr(function, "__name__", None) == name  # a decorator may have put a function of its own here
        fault = (
            _kind_fault(is_function, shape)
            or _parameter_fault(getattr(handler, name), shape, is_function, is_own)
            or _async_fault(function, shape, is_own)
        )
        if fault:
            raise HandlerError(f"{handler.name}.{name} {fault}: {shape.text}")


def _kind_fault(is_function: bool, shape: Shape) -> str | None:
    if shape.is_classmethod and is_function:
        return "must be a classmethod, because it is called before there is an instance"
    return None


def _parameter_fault(method: Callable[..., Any], shape: Shape, is_function: bool, is_own: bool) -> str | None:
    signature = inspect.signature(method)
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    if shape.takes == BATCH and inspect.Parameter.VAR_POSITIONAL not in kinds:
        return "must take *requests, because it gets a batch of them"
    if is_function and is_own and kinds == [inspect.Parameter.VAR_POSITIONAL]:
        return "must take self first"
    instance = ("self",) if is_function else ()
    try:
        signature.bind(*instance, *(shape.takes.split(", ") if shape.takes else []))
    except TypeError as error:
        return f"cannot be called with {shape.takes or 'no arguments'} ({error})"
    return None


def _async_fault(function: Any, shape: Shape, is_own: bool) -> str | None:
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return "has a `yield`, so calling it would run nothing"
    is_async = inspect.iscoroutinefunction(function)
    if shape.is_async and is_own and not is_async:
        return "must be `async def`"
    if shape.is_async is False and is_async:
        return "must be a plain `def`"
    return None
