"""`sharded-queue check`: do the indices and counters of a handler agree with its tubes?"""

from dataclasses import asdict

import click

from sharded_queue.admin import answers
from sharded_queue.admin.handlers import Named
from sharded_queue.backends.redis.check import Change, found_wrong
from sharded_queue.backends.redis.check import repair as repair_shard
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import about_handler
from sharded_queue.cli.output import emit, read, read_about
from sharded_queue.predecessor import hint
from sharded_queue.printable import printable


@click.command()
@about_handler
@click.option("--repair", is_flag=True, help="Repair what does not agree; workers may keep running.")
@click.option("--json", "as_json", is_flag=True, help="Print changes and faults as JSON.")
def check(handler: Named, repair: bool, as_json: bool) -> None:
    """
    Recount a handler; exit 1 if its indices or counters do not agree with its tubes.

    It reads all data of the handler, and blocks Redis while it reads or repairs a shard: seconds for 100,000 threads.
    Do not run it every minute.
    """
    changes = read_about(handler, lambda storage: repaired(storage, handler)) if repair else None
    wrong = read_about(handler, lambda storage: recount(storage, handler))
    put_right = None if changes is None else [answers.Change(**asdict(change)) for change in changes]
    emit(
        as_json,
        answers.Checked(handler=handler.name, faults=wrong, changes=put_right),
        *said(handler.name, changes or [], wrong),
    )
    if sentence := read(hint):
        click.echo(printable(sentence), err=True)
    if wrong:
        raise SystemExit(1)


async def repaired(storage: RedisStorage, handler: Named) -> list[Change]:
    return [change for shard in handler.shards for change in await repair_shard(storage, shard)]


async def recount(storage: RedisStorage, handler: Named) -> list[str]:
    return [fault for shard in handler.shards for fault in await found_wrong(storage, shard)]


def said(handler: str, changes: list[Change], wrong: list[str]) -> list[str]:
    put_right = [printable(f"repaired: {change}") for change in changes]
    return put_right + ([printable(fault) for fault in wrong] or [f"{printable(handler)}: no faults"])
