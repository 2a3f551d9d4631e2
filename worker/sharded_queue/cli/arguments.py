"""What the commands of this package have in common: types of arguments, options, and what a wrong one is."""

from functools import wraps
from typing import Any, cast

import click

from sharded_queue.admin.handlers import HandlerSelection, named
from sharded_queue.options import NAME, Command, module_options


class BadInput(click.ClickException):
    """An argument is wrong; the message says which and why."""

    exit_code = 2


def about_handler(command: Command) -> Command:
    """The arguments that name one handler, which the command gets as *handler*."""

    @click.argument("handler", type=NAME)
    @module_options
    @wraps(command)
    def run(handler: str, modules: tuple[str, ...], spread: int | None, **values: Any) -> object:
        return command(named([handler], modules, spread)[0], **values)

    return cast("Command", run)


def about_handlers(command: Command) -> Command:
    """The arguments that name some handlers, or all of them, which the command gets as *sought*."""

    @click.argument("handlers", type=NAME, nargs=-1, metavar="[HANDLER]...")
    @module_options
    @click.option(
        "--all",
        "everything",
        is_flag=True,
        help="All handlers of this Redis, found by scanning its keys. Not on a Cluster.",
    )
    @wraps(command)
    def run(
        handlers: tuple[str, ...], modules: tuple[str, ...], spread: int | None, everything: bool, **values: Any
    ) -> object:
        return command(HandlerSelection(handlers, modules, spread, everything), **values)

    return cast("Command", run)
