"""`sharded-queue dead`: requests that failed for good, and why."""

from collections.abc import Sequence

import click
from rich.text import Text

from sharded_queue.admin import answers
from sharded_queue.admin.handlers import Named
from sharded_queue.admin.letters import DropLetters, ReplayLetters
from sharded_queue.admin.search import Letter, Search, newest
from sharded_queue.cli import tables
from sharded_queue.cli.acts import act_command
from sharded_queue.cli.arguments import about_handler
from sharded_queue.cli.output import LONGEST, console, emit_lines, read_about
from sharded_queue.cli.tables import Fitted, name, number, word
from sharded_queue.printable import instant, printable
from sharded_queue.serializer import STAMP_DIGITS, body_of
from sharded_queue.state import Dead


@click.group()
def dead() -> None:
    """Dead letters: requests that failed for good."""


@dead.command("list")
@about_handler
@click.option("--count", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Dead letters to show.")
@click.option("--text", default="", help="Only those with this text in them.")
@click.option("--error", default="", help="Only those with this in their error.")
@click.option("--of-thread", default="", help="Only those of this thread.")
@click.option("--traceback", "with_traceback", is_flag=True, help="Show the traceback below each dead letter.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per dead letter.")
def list_(
    handler: Named, count: int, text: str, error: str, of_thread: str, with_traceback: bool, as_json: bool
) -> None:
    """List the newest dead letters of a handler, with the reason, in the order of their numbers."""
    search = Search(text, error, of_thread)
    found = sorted(
        read_about(handler, lambda storage: newest(storage, handler, count, search)),
        key=lambda letter: (letter.shard, letter.dead.number),
    )
    if as_json:
        emit_lines(answers.letter(each.dead, each.shard) for each in found)
    elif found and with_traceback:
        for each in found:
            show(handler, [each])
            click.echo("\n".join(printable(line) for line in traceback_lines(each.dead)))
    elif found:
        show(handler, found)
    else:
        click.echo(printable(f"{handler.name} has no dead letters {search.words}".rstrip()))


def traceback_lines(letter: Dead) -> list[str]:
    return letter.traceback.split("\n") if letter.traceback else ["no traceback: no handler raised an error"]


def show(handler: Named, listed: Sequence[Letter]) -> None:
    columns = [number("number"), name("tube"), word("died"), number("tries"), tables.text("reason, request")]
    rows: list[list[str | Text]] = [
        [
            each.name if handler.spread > 1 else str(letter.number),
            f"{letter.thread}/{letter.priority}",
            instant(letter.died_ms),
            str(letter.attempts),
            Text.assemble((printable(letter.error, LONGEST), "red"), "\n", printable(body(letter), LONGEST)),
        ]
        for each in listed
        for letter in [each.dead]
    ]
    console().print(Fitted(columns, rows))


def body(letter: Dead) -> bytes:
    return body_of(letter.message[STAMP_DIGITS:])


dead.add_command(act_command(ReplayLetters))
dead.add_command(act_command(DropLetters))
