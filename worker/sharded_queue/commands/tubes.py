"""`sharded-queue tubes`: how much waits, and where."""

from collections.abc import Sequence

import click
from rich.console import Group, RenderableType
from rich.text import Text

from sharded_queue.commands.naming import Sought, everything_option, module_options
from sharded_queue.commands.watching import Shape, show
from sharded_queue.printable import printable
from sharded_queue.storage import ShardState
from sharded_queue.storages.redis import RedisStorage
from sharded_queue.views import deserted, handlers_table, holders, tubes_table


@click.command()
@click.argument("handlers", nargs=-1, metavar="[HANDLER]...")
@module_options
@everything_option
@click.option("--worst", type=click.IntRange(0, 1000), default=10, show_default=True, help="Tubes to list.")
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a look.")
def tubes(
    handlers: tuple[str, ...],
    modules: tuple[str, ...],
    spread: int | None,
    everything: bool,
    worst: int,
    watch: bool,
    as_json: bool,
) -> None:
    """Threads, depth and lag of handlers, and the tubes that wait longest."""
    sought = Sought(handlers, modules, spread, everything)

    async def ask(storage: RedisStorage) -> list[ShardState]:
        return await storage.observe(await sought.shards(storage), worst)

    shape = Shape(ask, lambda states: view(states, worst), lambda states: [facts(state) for state in states])
    show(shape, watch=watch, as_json=as_json)


def view(states: Sequence[ShardState], worst: int) -> RenderableType:
    warnings = [Text(printable(sentence), style="red") for sentence in deserted(states)]
    if not worst or not any(state.oldest for state in states):
        return Group(handlers_table(states), *warnings)
    return Group(handlers_table(states), tubes_table(states, worst), *warnings)


def facts(state: ShardState) -> dict[str, object]:
    names = ("depth", "threads", "ready", "bound", "blocked", "parked", "lag_seconds", "registered", "settled", "dead")
    held = holders(state)
    return {
        "handler": state.shard.handler,
        "shard": state.shard.number,
        **{name: getattr(state, name) for name in (*names, "looked_seconds", "is_deserted")},
        "tubes": [{**tube._asdict(), "held_by": held.get(tube.thread)} for tube in state.oldest],
    }
