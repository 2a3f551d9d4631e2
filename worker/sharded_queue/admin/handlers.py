"""From names that a person gives to modules, handlers, threads and shards; what cannot be meant is refused."""

import sys
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import NamedTuple

from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.errors import NotPossible, SettingsError, StorageUnavailable, describe
from sharded_queue.handler import Handler, find, known
from sharded_queue.predecessor import hint
from sharded_queue.printable import printable
from sharded_queue.state import ThreadState
from sharded_queue.storage import Storage, observe_readable
from sharded_queue.tube import Shard, shard_of, shards_of


class Named(NamedTuple):
    """A handler by its name. Without its class, the number of its shards (*spread*) has to be given."""

    name: str
    spread: int
    is_declared: bool = False
    """Whether an imported module defines it, so that the name cannot be a typo."""

    @property
    def shards(self) -> list[Shard]:
        return list(shards_of(self.name, self.spread))

    def shard_of(self, thread: str) -> Shard:
        return shard_of(self.name, thread, self.spread)


class HandlerSelection(NamedTuple):
    """Which handlers a person means."""

    handlers: tuple[str, ...]
    modules: tuple[str, ...]
    spread: int | None
    everything: bool

    async def shards(self, storage: RedisStorage) -> list[Shard]:
        if self.everything:
            return await storage.known_shards()
        handlers = named(self.handlers, self.modules, self.spread)
        for handler in handlers:
            await must_be_known(storage, handler)
        return [shard for handler in handlers for shard in handler.shards]


def import_all(modules: Sequence[str]) -> None:
    """Import modules as `python -m` would: from the current directory first."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    for module in modules:
        import_one(module)


def import_one(module: str) -> None:
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            where = f"{printable(Path.cwd())} or on PYTHONPATH"
            near = meant(module, modules_here(module))
            raise NotPossible(f"no module {module!r} in {where}{near}") from error
        raise NotPossible(f"module {module!r} needs {error.name!r}, which is not installed") from error
    except Exception as error:
        traceback.print_exc()
        raise NotPossible(f"module {module!r} cannot be imported: {describe(error)}") from error


def handlers_in(modules: Sequence[str], names: Sequence[str]) -> list[type[Handler]]:
    """
    The handlers with these names, or all that the modules define.

    Raises:
        HandlerNotFound: no module defines a handler of that name.
    """
    import_all(modules)
    if names:
        return [find(name) for name in names]
    if not known():
        raise NotPossible(f"{', '.join(modules)} defines no handler: a subclass of Handler with perform or handle")
    return list(known().values())


def named(names: Sequence[str], modules: Sequence[str], spread: int | None) -> list[Named]:
    """The selected handlers: those with these names, or all that the modules define."""
    if modules:
        return [Named(handler.name, handler.shards, is_declared=True) for handler in handlers_in(modules, names)]
    if not names:
        raise NotPossible(
            "name a HANDLER, for example notifications.NotifyHandler, or --module MODULE, or (threads, lag, paused) "
            "--all"
        )
    return [Named(name, spread or 1) for name in names]


async def must_be_known(storage: RedisStorage, handler: Named) -> None:
    """
    Refuse a handler that Redis has never seen: no request, no schedule, no worker, no pause.

    The names of handlers are not indexed, since an index would cost every registration. A person's typo pays for one
    scan of the keys instead.

    Raises:
        NotPossible: there is no such handler. The message names the nearest one.
    """
    states, unreadable = await observe_readable(storage, handler.shards, 0)
    if handler.is_declared or unreadable or any(state.is_known for state in states):
        return
    spreads = await handlers_of(storage)
    if handler.name in spreads:
        raise NotPossible(
            f"{printable(handler.name)} is spread over {spreads[handler.name]} shards, not {handler.spread}: "
            f"use --shards {spreads[handler.name]}"
        )
    left = await hint(storage)
    raise NotPossible(
        f"this Redis has never seen a handler {printable(handler.name)!r}{meant(handler.name, spreads)}"
        + (f"; {printable(left)}" if left else "")
    )


async def handlers_of(storage: RedisStorage) -> dict[str, int]:
    """The handlers that Redis knows, with their numbers of shards; empty where its keys cannot be scanned."""
    spreads: dict[str, int] = {}
    with suppress(SettingsError, StorageUnavailable):  # a Cluster; a user without the right to look through keys
        for shard in await storage.known_shards():
            spreads[shard.handler] = max(spreads.get(shard.handler, 1), shard.number + 1)
    return spreads


async def must_have(storage: Storage, handler: Named, thread: str) -> ThreadState:
    """
    The state of a thread. One that has no requests, is not held by a worker, and is not paused, is refused.

    Raises:
        NotPossible: there is no such thread now. The message names the nearest one.
    """
    shard = handler.shard_of(thread)
    state = await storage.explain(shard, thread)
    if state.tubes or state.owner or state.flaw or state.blocked_seconds is not None or state.failures:
        return state
    (observed,) = await storage.observe([shard], 1000)
    there = {tube.thread for tube in observed.oldest} | {name for name, _ in observed.deepest}
    there.update(await storage.paused(shard))
    raise NotPossible(
        f"{printable(handler.name)} has no thread {printable(thread)!r} with requests: all were handled, or none was "
        f"ever registered{meant(thread, there)}"
    )


def meant(name: str, names: Iterable[str]) -> str:
    """Suggests the nearest of *names*."""
    known = {each.casefold(): each for each in names if each != name}
    close = get_close_matches(name.casefold(), known, n=1, cutoff=0.6)
    return f"; did you mean {printable(known[close[0]])!r}?" if close else ""


def modules_here(module: str) -> list[str]:
    """The modules in the folder where *module* was looked for."""
    parent, _, _ = module.rpartition(".")
    folder = Path.cwd().joinpath(*parent.split(".")) if parent else Path.cwd()
    beside = [f"{parent}.{found.name}" if parent else found.name for found in iter_modules([str(folder)])]
    return [parent, *beside] if parent else beside
