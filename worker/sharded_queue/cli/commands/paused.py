"""`sharded-queue paused`: what is paused."""

import click

from sharded_queue.admin import answers
from sharded_queue.admin.handlers import HandlerSelection
from sharded_queue.admin.pause import list_paused, name_of
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import about_handlers
from sharded_queue.cli.output import emit_lines, read
from sharded_queue.printable import printable


@click.command()
@about_handlers
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per paused handler or thread.")
def paused(sought: HandlerSelection, as_json: bool) -> None:
    """List paused handlers and paused threads."""

    async def ask(storage: RedisStorage) -> list[answers.Paused]:
        return await list_paused(storage, await sought.shards(storage))

    found = read(ask)
    if as_json:
        emit_lines(found)
    else:
        click.echo("\n".join(printable(paused_words(each)) for each in found) or "nothing is paused")


def paused_words(each: answers.Paused) -> str:
    what = name_of(each.handler, each.thread)
    if each.by:
        until = f" until {each.until[:19]}Z" if each.until else ""
        return f"{what}, since {(each.paused_at or '')[:19]}Z{until} by {each.by}: {each.reason}"
    return f"{what}: {each.act}" if each.act else what
