"""The options and types of arguments that the commands of several packages share, and what a wrong one is."""

from collections.abc import Callable
from typing import TypeVar

import click

from sharded_queue.printable import printable

Command = TypeVar("Command", bound=Callable[..., object])


class Name(click.ParamType):  # type: ignore[type-arg]  # click takes the argument from 8.4 on
    """A name in Redis: UTF-8."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail(f"{printable(value)} is not UTF-8", param, ctx)
        return value


NAME = Name()


def module_options(command: Command) -> Command:
    """The options that tell a command over how many shards a handler is spread."""
    modules = click.option("--module", "modules", multiple=True, help="Import this module for its handlers.")
    spread = click.option(
        "--shards", "spread", type=click.IntRange(1, 64), help="Shards of the handler, where no --module defines it."
    )
    return modules(spread(command))
