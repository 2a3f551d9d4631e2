"""`sharded-queue dead`: requests that were given up, and why."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click
import msgspec
from rich.text import Text

from sharded_queue.commands.naming import BadInput, Named, module_options, named
from sharded_queue.commands.reading import LONGEST, console, emit, read
from sharded_queue.printable import printable
from sharded_queue.storage import Dead, Target
from sharded_queue.storages.redis import RedisStorage
from sharded_queue.views import table


@click.group()
def dead() -> None:
    """Dead letters: requests that were given up."""


@dead.command("list")
@click.argument("handler")
@module_options
@click.option("--count", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Letters to show.")
@click.option("--traceback", "with_traceback", is_flag=True, help="Where the handler raised, under each letter.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON a letter.")
def list_(
    handler: str, modules: tuple[str, ...], spread: int | None, count: int, with_traceback: bool, as_json: bool
) -> None:
    """The newest dead letters of a handler, with the reason."""
    (found,) = named([handler], modules, spread)
    letters = read(lambda storage: newest(storage, found, count))
    if as_json:
        for letter in letters:
            click.echo(msgspec.json.encode({**letter._asdict(), "message": printable(letter.message)}).decode())
    elif letters and with_traceback:
        for letter in letters:
            show([letter])
            click.echo("\n".join(printable(line) for line in traceback_lines(letter)))
    elif letters:
        show(letters)
    else:
        click.echo(f"{handler} has no dead letters")


def traceback_lines(letter: Dead) -> list[str]:
    return letter.traceback.split("\n") if letter.traceback else ["no handler raised: there is no traceback"]


async def newest(storage: RedisStorage, handler: Named, count: int) -> list[Dead]:
    letters = [letter for shard in handler.shards for letter in await storage.dead(shard, count)]
    return sorted(letters, key=lambda letter: -letter.died_ms)[:count]


def show(letters: list[Dead]) -> None:
    made = table("number", "tube", "died", "tries", "reason", "message", left=6)
    for letter in letters:
        died = datetime.fromtimestamp(letter.died_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        reason, message = Text(printable(letter.error, LONGEST), style="red"), Text(printable(letter.message, LONGEST))
        made.add_row(
            str(letter.number),
            Text(printable(f"{letter.thread}/{letter.priority}")),
            died,
            str(letter.attempts),
            reason,
            message,
        )
    console().print(made)


def settling(name: str, done: str, about: str) -> None:
    """A command that settles dead letters by their numbers."""

    @dead.command(name, help=about)
    @click.argument("handler")
    @click.argument("numbers", type=int, nargs=-1)
    @click.option("--all", "is_all", is_flag=True, help="All of them.")
    @click.option("--head", is_flag=True, hidden=name == "drop", help="Before what waits, not behind it.")
    @module_options
    @click.option("--json", "as_json", is_flag=True, help="The numbers that were done, as JSON.")
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
            raise BadInput("say which: NUMBERS as `dead list` shows them, or --all")
        (found,) = named([handler], modules, spread)
        if numbers and found.spread > 1:
            raise BadInput(
                f"the {found.spread} shards of {handler} count their dead letters apart: only --all is clear"
            )
        target: Target = "drop" if name == "drop" else "head" if head else "tail"
        settled = read(lambda storage: settle(storage, found, numbers, target))
        left = (
            "" if is_all or len(settled) == len(numbers) else f"; {len(numbers) - len(settled)} were not (see --help)"
        )
        emit(as_json, {"done": settled}, f"{len(settled)} dead letters of {handler} {done}{left}")


async def settle(storage: RedisStorage, handler: Named, numbers: Sequence[int], target: Target) -> list[int]:
    """Oldest first, so that letters return in the order in which they died; at the head, the newest first."""
    done: list[int] = []
    for shard in handler.shards:
        known = [letter.number for letter in await storage.dead(shard, 100_000)]
        wanted = sorted(set(known) & set(numbers) if numbers else known, reverse=target == "head")
        if wanted:
            done += await storage.settle_dead(shard, wanted, target)
    return done


settling(
    "replay",
    "are back in their tubes",
    "Put dead letters back into their tubes: behind what waits, or with --head before it (only while no worker holds "
    "the thread).",
)
settling("drop", "are gone", "Forget dead letters for good.")
