"""What the modules of a worker hold besides handlers: middleware and a lifespan, found by name."""

import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from sharded_queue.errors import HandlerError
from sharded_queue.queue.middleware import Middleware, checked
from sharded_queue.worker.lifespan import Lifespan

MIDDLEWARE, LIFESPAN = "worker_middleware", "worker_lifespan"
CLOSE = 0.8
"""How alike two names have to be, from 0 to 1, for one to count as a typo of the other."""


class Hooks(NamedTuple):
    middleware: Sequence[Middleware]
    lifespan: Lifespan | None


def hooks_in(modules: Sequence[str]) -> Hooks:
    """
    The middleware of all *modules*, in their order, each once, and the lifespan of one of them.

    Raises:
        HandlerError: a list has something else than middleware, or two modules have a lifespan each.
    """
    middleware: list[Middleware] = []
    lifespans: dict[str, Lifespan] = {}
    for module in modules:
        names = vars(sys.modules[module])
        for each in _of(module, names.get(MIDDLEWARE, ())):
            if not any(each is known for known in middleware):
                middleware.append(each)
        lifespan = names.get(LIFESPAN)
        if lifespan is not None and not any(lifespan is known for known in lifespans.values()):
            lifespans[module] = lifespan
    if len(lifespans) > 1:
        raise HandlerError(
            f"{' and '.join(lifespans)} have a {LIFESPAN} each, and a worker has one: write one that enters the others"
        )
    return Hooks(middleware, next(iter(lifespans.values()), None))


def _of(module: str, value: object) -> Sequence[Middleware]:
    if not isinstance(value, list | tuple):
        raise HandlerError(f"{module}.{MIDDLEWARE} is {value!r:.80}: a list of middleware")
    return checked(value)


def mistyped_hooks(modules: Sequence[str]) -> Iterator[str]:
    """A sentence for each name in *modules* that is nearly one of ours."""
    for module in modules:
        for name in vars(sys.modules[module]):
            close = get_close_matches(name, (MIDDLEWARE, LIFESPAN), n=1, cutoff=CLOSE)
            if close and name not in (MIDDLEWARE, LIFESPAN):
                yield f"{module}.{name} has no effect; did you mean {close[0]}?"
