"""`sharded-queue schedules`: recurrent requests, and when each is due next."""

from typing import Any

import click
from rich.text import Text

from sharded_queue import timing
from sharded_queue.admin import answers
from sharded_queue.admin.handlers import Named
from sharded_queue.admin.schedules import EditSchedule, RemoveSchedule, RunSchedule, next_first
from sharded_queue.admin.words import interval
from sharded_queue.cli.acts import act_command
from sharded_queue.cli.arguments import BadInput, about_handler
from sharded_queue.cli.output import LONGEST, console, emit_lines, read_about
from sharded_queue.cli.tables import Fitted, name, text, word
from sharded_queue.printable import instant, printable
from sharded_queue.serializer import body_of
from sharded_queue.state import Upcoming


@click.group()
def schedules() -> None:
    """Schedules: requests that recur."""


@schedules.command("list")
@about_handler
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per schedule.")
def list_(handler: Named, as_json: bool) -> None:
    """List the schedules of a handler, the next due first."""
    upcoming = read_about(handler, lambda storage: next_first(storage, handler))
    if as_json:
        emit_lines(map(answers.schedule, upcoming))
    elif upcoming:
        show(upcoming)
    else:
        click.echo(f"{printable(handler.name)} has no schedules")


def show(upcoming: list[Upcoming]) -> None:
    columns = [name("name"), word("timing"), word("next"), word("while one waits"), name("tube"), text("request")]
    rows: list[list[str | Text]] = [
        [
            schedule.name,
            interval(schedule.timing),
            instant(schedule.next_ms),
            "skip" if schedule.skip_if_waiting else "add",
            f"{schedule.thread}/{schedule.priority}",
            Text(printable(body_of(schedule.body), LONGEST)),
        ]
        for schedule in upcoming
    ]
    console().print(Fitted(columns, rows))


def timing_of(values: dict[str, Any]) -> dict[str, list[str]]:
    """
    Raises:
        BadInput: no timing is given, or two, or it makes no sense.
    """
    if (values["seconds"] is None) == (values["cron"] is None):
        raise BadInput("say when: give either --every SECONDS or --cron LINE")
    try:
        return {"timing": [str(timing.given(values["seconds"], values["cron"], values["timezone"]))]}
    except ValueError as error:
        raise BadInput(str(error)) from error


EVERY = click.Option(
    ["--every", "seconds"], type=click.FloatRange(timing.SHORTEST_SECONDS, timing.LONGEST_SECONDS), help="Seconds."
)
CRON = click.Option(["--cron"], metavar="LINE", help="Five fields, as in '0 9 * * 1-5'.")
ZONE = click.Option(["--timezone"], metavar="ZONE", help="Of the cron line, as in Europe/Berlin. Defaults to UTC.")

schedules.add_command(act_command(RemoveSchedule))
schedules.add_command(act_command(EditSchedule, EVERY, CRON, ZONE, read=timing_of))
schedules.add_command(act_command(RunSchedule))
