"""
The program `sharded-queue`: a command per file in `commands/`, and whatever other packages add.

Other packages (the operator's `run` is one) name theirs in the entry-point group `sharded_queue.commands`, so that the
library never imports them. Each command is imported when it is asked for: a worker that starts, perhaps because its
first request waits, need not load what draws tables.
"""

import sys
from importlib.metadata import EntryPoint, entry_points
from io import TextIOWrapper

import click

from sharded_queue.cli.arguments import BadInput
from sharded_queue.errors import ShardedQueueError
from sharded_queue.printable import printable
from sharded_queue.settings import mistyped

ADDED = "sharded_queue.commands"

PLACES = {"resume": "pause", "paused": "pause"}
"""The files of commands that share one."""

OWN = {
    name: EntryPoint(name, f"sharded_queue.cli.commands.{PLACES.get(name, name)}:{name} [worker]", ADDED)
    for name in (
        "worker",
        "tubes",
        "lag",
        "peek",
        "explain",
        "pause",
        "resume",
        "paused",
        "reshard",
        "dead",
        "delayed",
        "schedules",
        "check",
        "migrate",
    )
}


class Program(click.Group):
    """A group that finds commands when they are asked for, and says what is wrong in one line."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*OWN, *entry_points(group=ADDED).names})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        point = OWN.get(name) or next(iter(entry_points(group=ADDED, name=name)), None)
        return loaded(point) if point else None

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except ShardedQueueError as error:
            kind = BadInput if isinstance(error, ValueError | LookupError) else click.ClickException
            raise kind(printable(error)) from error


def loaded(point: EntryPoint) -> click.Command:
    """The command behind an entry point; where its package is not installed, one that says how to get it."""
    try:
        command = point.load()
    except ModuleNotFoundError as error:
        return unavailable(point, error)
    assert isinstance(command, click.Command)
    return command


def unavailable(point: EntryPoint, error: ModuleNotFoundError) -> click.Command:
    missing = f"there is no {error.name} here; pip install 'sharded-queue[{','.join(point.extras)}]' brings it"

    def complain(**_: object) -> None:
        raise click.ClickException(missing)

    words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
    options = {"ignore_unknown_options": True, "help_option_names": []}
    return click.Command(
        point.name, params=[words], callback=complain, context_settings=options, short_help=f"(needs {error.name})"
    )


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sharded-queue", message="%(version)s")
def main() -> None:
    """
    Work that must stay in order, spread over machines that come and go.

    Redis is the one that QUEUE_REDIS_ADDRESS names (localhost:6379).
    """
    if isinstance(sys.stdout, TextIOWrapper):  # what a terminal has no letters for is spelled out
        sys.stdout.reconfigure(errors="backslashreplace")
    if click.get_current_context().invoked_subcommand != "worker":  # which logs it
        for sentence in mistyped():
            click.echo(f"Warning: {sentence}", err=True)
