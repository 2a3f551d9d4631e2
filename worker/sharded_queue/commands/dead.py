"""`sharded-queue dead`: requests that were given up, and why."""

from datetime import UTC, datetime

import click
import msgspec
from rich.text import Text

from sharded_queue.commands.naming import Named, module_options, named
from sharded_queue.commands.reading import console, read, shown
from sharded_queue.storage import Dead
from sharded_queue.storages.redis import RedisStorage
from sharded_queue.views import table


@click.group()
def dead() -> None:
    """Dead letters: requests that were given up."""


@dead.command("list")
@click.argument("handler")
@module_options
@click.option("--count", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Letters to show.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON a letter.")
def list_(handler: str, modules: tuple[str, ...], spread: int | None, count: int, as_json: bool) -> None:
    """The newest dead letters of a handler, with the reason."""
    (found,) = named([handler], modules, spread)
    letters = read(lambda storage: newest(storage, found, count))
    if as_json:
        for letter in letters:
            click.echo(msgspec.json.encode({**letter._asdict(), "message": shown(letter.message)}).decode())
    elif letters:
        show(letters)
    else:
        click.echo(f"{handler} has no dead letters")


async def newest(storage: RedisStorage, handler: Named, count: int) -> list[Dead]:
    letters = [letter for shard in handler.shards for letter in await storage.dead(shard, count)]
    return sorted(letters, key=lambda letter: -letter.died_ms)[:count]


def show(letters: list[Dead]) -> None:
    made = table("number", "tube", "died", "tries", "reason", "message", left=6)
    for letter in letters:
        died = datetime.fromtimestamp(letter.died_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        reason, message = Text(shown(letter.error), style="red"), Text(shown(letter.message))
        made.add_row(
            str(letter.number),
            Text(shown(f"{letter.thread}/{letter.priority}")),
            died,
            str(letter.attempts),
            reason,
            message,
        )
    console().print(made)
