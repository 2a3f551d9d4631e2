"""`sharded-queue delayed`: requests that are not due yet."""

import time
from collections.abc import Sequence
from typing import Any

import click
from rich.text import Text

from sharded_queue.admin import answers
from sharded_queue.admin.delayed import Cancel, MoveDelayed, RunDelayed, next_first
from sharded_queue.admin.handlers import Named
from sharded_queue.cli.acts import act_command
from sharded_queue.cli.arguments import BadInput, about_handler
from sharded_queue.cli.output import LONGEST, console, emit_lines, read_about
from sharded_queue.cli.tables import Fitted, name, number, text, word
from sharded_queue.printable import instant, printable
from sharded_queue.serializer import body_of
from sharded_queue.state import Delayed
from sharded_queue.storage import LONGEST_DELAY_SECONDS

MOST = 100_000
"""Delayed requests that are listed."""


@click.group()
def delayed() -> None:
    """Delayed requests: those that are not due yet."""


@delayed.command("list")
@about_handler
@click.option("--count", type=click.IntRange(1, MOST), default=100, show_default=True, help="Requests to show.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per request.")
def list_(handler: Named, count: int, as_json: bool) -> None:
    """List the delayed requests of a handler, the next due first."""
    waiting = read_about(handler, lambda storage: next_first(storage, handler, count))
    if as_json:
        emit_lines(map(answers.delayed, waiting))
    elif waiting:
        show(waiting)
    else:
        click.echo(f"{printable(handler.name)} has no delayed requests")


def show(waiting: Sequence[Delayed]) -> None:
    columns = [number("number"), name("tube"), word("due"), text("request")]
    rows: list[list[str | Text]] = [
        [
            str(each.sequence),
            f"{each.tube.thread}/{each.tube.priority}",
            instant(each.due_ms),
            Text(printable(body_of(each.body), LONGEST)),
        ]
        for each in waiting
    ]
    console().print(Fitted(columns, rows))


def due_of(values: dict[str, Any]) -> dict[str, list[str]]:
    """
    Raises:
        BadInput: no time is given, or two.
    """
    at, seconds = values["at"], values["seconds"]
    if (at is None) == (seconds is None):
        raise BadInput("say when: give either --at TIME or --in SECONDS")
    return {} if seconds is None else {"at": [instant((int(time.time()) + seconds) * 1000)]}


SECONDS = click.Option(["--in", "seconds"], type=click.IntRange(1, LONGEST_DELAY_SECONDS), help="Seconds from now.")

delayed.add_command(act_command(Cancel))
delayed.add_command(act_command(RunDelayed))
delayed.add_command(act_command(MoveDelayed, SECONDS, read=due_of))
