"""What the commands of this package have in common: types of arguments, options, and what a wrong one is."""

import click

from sharded_queue.options import Command
from sharded_queue.timing import moment_ms


class BadInput(click.ClickException):
    """An argument is wrong; the message says which and why."""

    exit_code = 2


class MomentType(click.ParamType):  # type: ignore[type-arg]
    """A time in ISO 8601, as milliseconds since 1970."""

    name = "time"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return moment_ms(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


MOMENT = MomentType()


def everything_option(command: Command) -> Command:
    return click.option(
        "--all",
        "everything",
        is_flag=True,
        help="All handlers of this Redis, found by scanning its keys. Not on a Cluster.",
    )(command)
