"""`sharded-queue dead`: requests that failed for good, and why."""

from collections.abc import Sequence

import click
from rich.text import Text

from sharded_queue import letters
from sharded_queue.admin import answers
from sharded_queue.admin.handlers import Named, named
from sharded_queue.admin.search import newest
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import BadInput
from sharded_queue.cli.output import LONGEST, console, emit, emit_lines, read_about
from sharded_queue.cli.tables import Fitted, name, number, text, word
from sharded_queue.errors import StorageUnavailable
from sharded_queue.options import NAME, module_options
from sharded_queue.printable import be, counted, instant, printable
from sharded_queue.serializer import STAMP_DIGITS, body_of
from sharded_queue.state import Dead
from sharded_queue.storage import STEP_NUMBERS, Target
from sharded_queue.tube import Shard


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
    listed = [each.dead for each in read_about(found, lambda storage: newest(storage, found, count))]
    if as_json:
        emit_lines(map(answers.letter, listed))
    elif listed and with_traceback:
        for letter in listed:
            show([letter])
            click.echo("\n".join(printable(line) for line in traceback_lines(letter)))
    elif listed:
        show(listed)
    else:
        click.echo(f"{printable(handler)} has no dead letters")


def traceback_lines(letter: Dead) -> list[str]:
    return letter.traceback.split("\n") if letter.traceback else ["no traceback: no handler raised an error"]


def show(listed: list[Dead]) -> None:
    columns = [number("number"), name("tube"), word("died"), number("tries"), text("reason, request")]
    rows: list[list[str | Text]] = [
        [
            str(letter.number),
            f"{letter.thread}/{letter.priority}",
            instant(letter.died_ms),
            str(letter.attempts),
            Text.assemble((printable(letter.error, LONGEST), "red"), "\n", printable(body(letter), LONGEST)),
        ]
        for letter in listed
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
    """Settle the dead letters with these numbers, or all that there are now."""
    done: list[int] = []
    left: dict[str, str] = {}
    wanted = {shard: numbers or await storage.letter_numbers(shard) for shard in handler.shards}
    total = sum(map(len, wanted.values()))
    try:
        for shard, of_shard in wanted.items():
            before = len(done)
            async for step in letters.settle(storage, shard, of_shard, target):
                done += step
                show_progress(len(done), total)
            left |= await why_left(storage, shard, sorted(set(of_shard).difference(done[before:])))
    except StorageUnavailable as error:
        words = f"{len(done):,} of {counted(total, 'dead letter')} {be(len(done))} done for certain"
        raise StorageUnavailable(f"{error}; {words}, and the same command does the rest") from error
    return answers.Settled(handler=handler.name, done=done, left=left)


def show_progress(done: int, total: int) -> None:
    """For work of several steps."""
    if total > STEP_NUMBERS:
        click.echo(f"{done:,} of {counted(total, 'dead letter')}", err=True)


async def why_left(storage: RedisStorage, shard: Shard, numbers: Sequence[int]) -> dict[str, str]:
    if not numbers:
        return {}
    readable = {letter.number for letter in await storage.letter_threads(shard, numbers)}
    there = set(await storage.letter_numbers(shard))
    reasons = {(True, True): "a worker holds its thread", (False, True): "it cannot be read, and can only be dropped"}
    return {
        str(each): reasons.get((each in readable, each in there), "no dead letter has this number") for each in numbers
    }


settling(
    "replay",
    "back in the tubes",
    "Put dead letters back into their tubes: behind the waiting requests, or before them with --head (only while no "
    "worker holds the thread).",
)
settling("drop", "gone", "Delete dead letters for good.")
