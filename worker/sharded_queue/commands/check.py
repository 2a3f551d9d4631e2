"""`sharded-queue check`: do the indices and counters of a handler say what its tubes hold?"""

import click

from sharded_queue.check import faults, picture
from sharded_queue.commands.naming import Named, module_options, named
from sharded_queue.commands.reading import emit, read, shown
from sharded_queue.storages.redis import RedisStorage


@click.command()
@click.argument("handler")
@module_options
@click.option("--json", "as_json", is_flag=True, help="The faults as JSON.")
def check(handler: str, modules: tuple[str, ...], spread: int | None, as_json: bool) -> None:
    """Recount a handler; exit 1 when something does not add up. It reads everything: not for every minute."""
    (found,) = named([handler], modules, spread)
    wrong = read(lambda storage: recount(storage, found))
    emit(as_json, {"handler": handler, "faults": wrong}, *(map(shown, wrong) if wrong else [f"{handler}: all is true"]))
    if wrong:
        raise SystemExit(1)


async def recount(storage: RedisStorage, handler: Named) -> list[str]:
    return [fault for shard in handler.shards for fault in faults(await picture(storage, shard))]
