"""From words on a command line to modules, handlers and shards."""

import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, TypeVar

import click

from sharded_queue.handler import Handler, find, known
from sharded_queue.storages.redis import RedisStorage
from sharded_queue.tube import Shard, shard_of, shards_of

Command = TypeVar("Command", bound=Callable[..., object])


class BadInput(click.ClickException):
    """The words make no sense; the message says which."""

    exit_code = 2


class Named(NamedTuple):
    """A handler by its name; its class need not be here, but then its shards must be said."""

    name: str
    spread: int

    @property
    def shards(self) -> list[Shard]:
        return shards_of(self.name, self.spread)

    def shard_of(self, thread: str) -> Shard:
        return shard_of(self.name, thread, self.spread)


def module_options(command: Command) -> Command:
    """The options by which a command that reads learns how threads are spread over shards."""
    modules = click.option("--module", "modules", multiple=True, help="Take handlers from this module.")
    spread = click.option(
        "--shards", "spread", type=click.IntRange(1, 64), help="Hash tags of the handler, where no module says so."
    )
    return modules(spread(command))


class Sought(NamedTuple):
    """The words that say which handlers to read about."""

    handlers: tuple[str, ...]
    modules: tuple[str, ...]
    spread: int | None
    everything: bool

    async def shards(self, storage: RedisStorage) -> list[Shard]:
        if self.everything:
            return await storage.known_shards()
        return [shard for handler in named(self.handlers, self.modules, self.spread) for shard in handler.shards]


def everything_option(command: Command) -> Command:
    return click.option(
        "--all", "everything", is_flag=True, help="All handlers of this Redis, found by a look through all its keys."
    )(command)


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
            raise BadInput(f"there is no module {module!r} in {Path.cwd()} or on PYTHONPATH") from error
        raise BadInput(f"module {module!r} needs {error.name!r}, which is not installed") from error
    except Exception as error:
        traceback.print_exc()
        raise BadInput(f"module {module!r} cannot be imported: {type(error).__name__}: {error}") from error


def served(modules: Sequence[str], names: Sequence[str]) -> list[type[Handler]]:
    """
    The handlers of these names, or all that the modules brought.

    Raises:
        HandlerNotFound: a name is not among what the modules brought.
    """
    import_all(modules)
    if names:
        return [find(name) for name in names]
    if not known():
        raise BadInput(f"no handler is defined by {', '.join(modules)}: a subclass of Handler with perform or handle")
    return list(known().values())


def named(names: Sequence[str], modules: Sequence[str], spread: int | None) -> list[Named]:
    """The handlers to read about: those of these names, or all of the modules."""
    if modules:
        return [Named(handler.name, handler.shards) for handler in served(modules, names)]
    if not names:
        raise BadInput(
            "say what to read: HANDLER, for example notifications.NotifyHandler, --module MODULE, or (tubes, lag) --all"
        )
    return [Named(name, spread or 1) for name in names]
