"""`sharded-queue tubes`: how much waits, and where."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import click
import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live

from sharded_queue.commands.naming import module_options, named
from sharded_queue.commands.reading import console, read
from sharded_queue.errors import StorageUnavailable
from sharded_queue.storage import ShardState
from sharded_queue.storages.redis import RedisStorage
from sharded_queue.tube import Shard
from sharded_queue.views import handlers_table, holders, tubes_table

PERIOD_SECONDS = 1.0


@click.command()
@click.argument("handlers", nargs=-1, metavar="[HANDLER]...")
@module_options
@click.option("--worst", type=click.IntRange(0, 1000), default=10, show_default=True, help="Tubes to list.")
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a look.")
def tubes(
    handlers: tuple[str, ...], modules: tuple[str, ...], spread: int | None, worst: int, watch: bool, as_json: bool
) -> None:
    """Threads, depth and lag of handlers, and the tubes that wait longest."""
    shards = [shard for handler in named(handlers, modules, spread) for shard in handler.shards]
    if watch:
        with suppress(KeyboardInterrupt):
            read(lambda storage: follow(storage, shards, worst, as_json))
        return
    states = read(lambda storage: storage.observe(shards, worst))
    click.echo(line(states)) if as_json else console().print(view(states, worst))


async def follow(storage: RedisStorage, shards: Sequence[Shard], worst: int, as_json: bool) -> None:
    screen = console()
    with Live(console=screen, auto_refresh=False, transient=False) as live:
        while True:
            shown = await look(storage, shards, worst, as_json)
            if as_json or not screen.is_terminal:
                say(screen, shown)
            else:
                live.update(shown, refresh=True)
            await asyncio.sleep(PERIOD_SECONDS)


async def look(storage: RedisStorage, shards: Sequence[Shard], worst: int, as_json: bool) -> RenderableType:
    try:
        states = await storage.observe(shards, worst)
    except StorageUnavailable as error:
        return msgspec.json.encode({"error": str(error)}).decode() if as_json else str(error)
    return line(states) if as_json else view(states, worst)


def say(screen: Console, shown: RenderableType) -> None:
    click.echo(shown) if isinstance(shown, str) else screen.print(shown)


def view(states: Sequence[ShardState], worst: int) -> RenderableType:
    if not worst or not any(state.oldest for state in states):
        return handlers_table(states)
    return Group(handlers_table(states), tubes_table(states, worst))


def line(states: Sequence[ShardState]) -> str:
    return msgspec.json.encode([facts(state) for state in states]).decode()


def facts(state: ShardState) -> dict[str, object]:
    names = ("depth", "threads", "ready", "bound", "blocked", "lag_seconds", "registered", "settled", "dead")
    held = holders(state)
    return {
        "handler": state.shard.handler,
        "shard": state.shard.number,
        **{name: getattr(state, name) for name in names},
        "tubes": [{**tube._asdict(), "held_by": held.get(tube.thread)} for tube in state.oldest],
    }
