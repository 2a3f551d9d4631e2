"""
The program `sharded-queue`: a command per file in `commands/`, and whatever other packages add.

Other packages (the operator's `run` is one) name theirs in the entry-point group `sharded_queue.commands`, so that the
library never imports them.
"""

from importlib.metadata import EntryPoint, entry_points

import click

from sharded_queue.commands.check import check
from sharded_queue.commands.control import pause, resume
from sharded_queue.commands.dead import dead
from sharded_queue.commands.explain import explain
from sharded_queue.commands.lag import lag
from sharded_queue.commands.naming import BadInput
from sharded_queue.commands.peek import peek
from sharded_queue.commands.reshard import reshard
from sharded_queue.commands.schedules import schedules
from sharded_queue.commands.tubes import tubes
from sharded_queue.commands.worker import worker
from sharded_queue.errors import ShardedQueueError

ADDED = "sharded_queue.commands"


class Program(click.Group):
    """A group that finds added commands when they are asked for, and says what is wrong in one line."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*self.commands, *entry_points(group=ADDED).names})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if command := self.commands.get(name):
            return command
        return next((added(point) for point in entry_points(group=ADDED, name=name)), None)

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except ShardedQueueError as error:
            kind = BadInput if isinstance(error, ValueError | LookupError) else click.ClickException
            raise kind(str(error)) from error


def added(point: EntryPoint) -> click.Command:
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


for command in (worker, tubes, lag, peek, explain, pause, resume, reshard, dead, schedules, check):
    main.add_command(command)
