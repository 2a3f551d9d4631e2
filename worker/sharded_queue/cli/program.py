"""
The program `sharded-queue`: one command per file in `commands/`, those of acts, and those that other packages add.

Other packages name their commands in the entry-point group `sharded_queue.commands`, as the operator does for `run`, so
the library never imports them. A command is imported when it is called: a worker starts while its first request waits,
and does not load the code that draws tables.
"""

import gc
import sys
from importlib.metadata import EntryPoint, entry_points
from io import TextIOWrapper

import click

from sharded_queue.admin.words import how_to_install
from sharded_queue.cli.arguments import BadInput
from sharded_queue.errors import ShardedQueueError
from sharded_queue.printable import printable
from sharded_queue.settings import mistyped

ADDED = "sharded_queue.commands"

ACTS = {
    "pause": "pause:Pause",
    "resume": "pause:Resume",
    "reshard": "reshard:Reshard",
    "drop": "drop:DropRequests",
}
"""Commands that are made from an act of `admin/`. Those of a group are added where the group is."""

OWN = {
    name: EntryPoint(name, f"sharded_queue.cli.commands.{name}:{name} [worker]", ADDED)
    for name in (
        "worker",
        "workers",
        "threads",
        "lag",
        "peek",
        "explain",
        "paused",
        "dead",
        "dropped",
        "delayed",
        "schedules",
        "script",
        "check",
        "migrate",
    )
}
OWN |= {name: EntryPoint(name, f"sharded_queue.admin.{act} [worker]", ADDED) for name, act in ACTS.items()}
RENAMED = {"tubes": "threads"}
"""Commands under names that they had before, which are not listed."""
OWN |= {"web": EntryPoint("web", "sharded_queue.web.command:web [web]", ADDED)}


class Program(click.Group):
    """A group that imports commands when they are called, and reports an error in one line."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*OWN, *entry_points(group=ADDED).names})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        name = RENAMED.get(name, name)
        point = OWN.get(name) or next(iter(entry_points(group=ADDED, name=name)), None)
        command = loaded(point) if point else None
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        return command

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except ShardedQueueError as error:
            kind = BadInput if isinstance(error, ValueError | LookupError) else click.ClickException
            raise kind(printable(error)) from error


def loaded(point: EntryPoint) -> click.Command:
    """
    The command behind an entry point, or the one that is made from the act there. If its package is missing, a command
    that says how to install it.
    """
    try:
        command = point.load()
        if isinstance(command, type):
            from sharded_queue.cli.acts import act_command  # noqa: PLC0415 - a worker does not load what draws tables

            return act_command(command)
    except ModuleNotFoundError as error:
        return unavailable(point, error)
    assert isinstance(command, click.Command)
    return command


def unavailable(point: EntryPoint, error: ModuleNotFoundError) -> click.Command:
    sentence = how_to_install(point, error)

    def complain(**_: object) -> None:
        raise click.ClickException(sentence)

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

    QUEUE_REDIS_ADDRESS or QUEUE_REDIS_URL names the Redis to use (localhost:6379 by default).
    """
    if isinstance(sys.stdout, TextIOWrapper):  # escape characters that the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    if click.get_current_context().invoked_subcommand != "worker":  # the worker logs it
        for sentence in mistyped():
            click.echo(f"Warning: {sentence}", err=True)
