"""`sharded-queue dead`: requests that failed for good, and why."""

from collections.abc import Sequence

import click
from rich.text import Text

from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli import answers
from sharded_queue.cli.arguments import NAME, BadInput, Named, module_options, named
from sharded_queue.cli.output import LONGEST, console, emit, emit_lines, read_about
from sharded_queue.cli.tables import Fitted, name, number, text, word
from sharded_queue.printable import be, counted, instant, printable
from sharded_queue.serializer import STAMP_DIGITS, body_of
from sharded_queue.state import Dead
from sharded_queue.storage import Target


@click.group()
def dead() -> None:
    """Dead letters: requests that failed for good."""


@dead.command("list")
@click.argument("handler", type=NAME)
@module_options
@click.option("--count", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Dead letters to show.")
@click.option("--traceback", "with_traceback", is_flag=True, help="Show the traceback below each dead letter.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per dead letter.")
def list_(
    handler: str, modules: tuple[str, ...], spread: int | None, count: int, with_traceback: bool, as_json: bool
) -> None:
    """List the newest dead letters of a handler, with the reason."""
    (found,) = named([handler], modules, spread)
    letters = read_about(found, lambda storage: newest(storage, found, count))
    if as_json:
        emit_lines(map(answer, letters))
    elif letters and with_traceback:
        for letter in letters:
            show([letter])
            click.echo("\n".join(printable(line) for line in traceback_lines(letter)))
    elif letters:
        show(letters)
    else:
        click.echo(f"{printable(handler)} has no dead letters")


def traceback_lines(letter: Dead) -> list[str]:
    return letter.traceback.split("\n") if letter.traceback else ["no traceback: no handler raised an error"]


async def newest(storage: RedisStorage, handler: Named, count: int) -> list[Dead]:
    letters = [letter for shard in handler.shards for letter in await storage.dead(shard, count)]
    return sorted(letters, key=lambda letter: -letter.died_ms)[:count]


def answer(letter: Dead) -> answers.Letter:
    return answers.Letter(
        number=letter.number,
        thread=letter.thread,
        priority=letter.priority,
        sequence=letter.sequence,
        attempts=letter.attempts,
        error=letter.error,
        traceback=letter.traceback,
        died_at=answers.at(letter.died_ms),
        **answers.stored(letter.message),
    )


def show(letters: list[Dead]) -> None:
    columns = [number("number"), name("tube"), word("died"), number("tries"), text("reason, request")]
    rows: list[list[str | Text]] = [
        [
            str(letter.number),
            f"{letter.thread}/{letter.priority}",
            instant(letter.died_ms),
            str(letter.attempts),
            Text.assemble((printable(letter.error, LONGEST), "red"), "\n", printable(body(letter), LONGEST)),
        ]
        for letter in letters
    ]
    console().print(Fitted(columns, rows))


def body(letter: Dead) -> bytes:
    return body_of(letter.message[STAMP_DIGITS:])


def settling(command_name: str, done: str, about: str) -> None:
    """Add a command that settles dead letters by their numbers."""

    @dead.command(command_name, help=about)
    @click.argument("handler", type=NAME)
    @click.argument("numbers", type=int, nargs=-1)
    @click.option("--all", "is_all", is_flag=True, help="All dead letters of the handler.")
    @click.option(
        "--head", is_flag=True, hidden=command_name == "drop", help="Put them before the waiting requests, not behind."
    )
    @module_options
    @click.option("--json", "as_json", is_flag=True, help="Print the settled numbers, and the others, as JSON.")
    def command(
        handler: str,
        numbers: tuple[int, ...],
        is_all: bool,
        head: bool,
        modules: tuple[str, ...],
        spread: int | None,
        as_json: bool,
    ) -> None:
        if bool(numbers) == is_all:
            raise BadInput("give the NUMBERS that `dead list` shows, or --all")
        (found,) = named([handler], modules, spread)
        if numbers and found.spread > 1:
            raise BadInput(f"the {found.spread} shards of {handler} number their dead letters separately: use --all")
        target: Target = "drop" if command_name == "drop" else "head" if head else "tail"
        settled = read_about(found, lambda storage: settle(storage, found, numbers, target))
        said = [f"{counted(len(settled.done), 'dead letter')} of {printable(handler)} {be(len(settled.done))} {done}"]
        emit(as_json, settled, *said, *[f"{number} is not: {why}" for number, why in settled.left.items()])
        if settled.left:
            raise SystemExit(1)


async def settle(storage: RedisStorage, handler: Named, numbers: Sequence[int], target: Target) -> answers.Settled:
    """Settle the dead letters with these numbers, or all."""
    done: list[int] = []
    left: dict[str, str] = {}
    for shard in handler.shards:
        known = [letter.number for letter in await storage.dead(shard, 100_000)]
        wanted = sorted(set(known) & set(numbers) if numbers else known, reverse=target == "head")
        settled = await storage.settle_dead(shard, wanted, target) if wanted else []
        done += settled
        for missed in sorted({*numbers, *wanted}.difference(settled)):
            is_held = missed in known
            left[str(missed)] = "a worker holds its thread" if is_held else "no dead letter has this number"
    return answers.Settled(handler=handler.name, done=done, left=left)


settling(
    "replay",
    "back in the tubes",
    "Put dead letters back into their tubes: behind the waiting requests, or before them with --head (only while no "
    "worker holds the thread).",
)
settling("drop", "gone", "Delete dead letters for good.")
