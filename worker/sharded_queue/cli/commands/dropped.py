"""`sharded-queue dropped`: who dropped requests or dead letters, and why."""

from collections.abc import Sequence

import click
from rich.text import Text

from sharded_queue.admin import answers
from sharded_queue.admin.handlers import Named
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import about_handler
from sharded_queue.cli.output import LONGEST, console, emit_lines, read_about
from sharded_queue.cli.tables import Fitted, name, number, text, word
from sharded_queue.printable import instant, printable
from sharded_queue.state import Drop


@click.command()
@about_handler
@click.option("--count", type=click.IntRange(1, 1000), default=100, show_default=True, help="Drops to show.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per drop.")
def dropped(handler: Named, count: int, as_json: bool) -> None:
    """
    Show who dropped requests or dead letters of a handler and why, the newest drop first. The last 1,000 of a shard are
    kept.
    """
    drops = read_about(handler, lambda storage: newest(storage, handler, count))
    if as_json:
        emit_lines(map(drop_answer, drops))
    elif drops:
        show(drops)
    else:
        click.echo(f"nobody dropped requests of {printable(handler.name)}")


async def newest(storage: RedisStorage, handler: Named, count: int) -> list[Drop]:
    drops = [each for shard in handler.shards for each in await storage.drops(shard, count)]
    return sorted(drops, key=lambda each: -each.at_ms)[:count]


def drop_answer(each: Drop) -> answers.Drop:
    return answers.Drop(
        dropped_at=answers.at(each.at_ms),
        by=each.actor,
        reason=each.reason,
        thread=each.thread or "dead letters",
        requests=each.requests,
        letter=each.letter,
    )


def show(drops: Sequence[Drop]) -> None:
    columns = [word("dropped"), name("by"), name("thread"), number("requests"), number("dead letters from")]
    rows: list[list[str | Text]] = [
        [
            instant(each.at_ms),
            each.actor,
            each.thread or "dead letters",
            str(each.requests),
            str(each.letter),
            Text(printable(each.reason, LONGEST)),
        ]
        for each in drops
    ]
    console().print(Fitted([*columns, text("reason")], rows))
