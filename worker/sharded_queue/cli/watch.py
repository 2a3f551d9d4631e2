"""What commands with `--watch` share: read, show, wait a second, repeat."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

import click
from rich.console import Console, RenderableType
from rich.live import Live

from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.output import console, read
from sharded_queue.errors import StorageUnavailable
from sharded_queue.printable import json_line

T = TypeVar("T")
PERIOD_SECONDS = 1.0


class Shape(NamedTuple, Generic[T]):
    """How to read something, and how to show it: as a view, and as one line of JSON."""

    ask: Callable[[RedisStorage], Awaitable[T]]
    view: Callable[[T], RenderableType]
    facts: Callable[[T], object]


def show(shape: Shape[T], *, watch: bool, as_json: bool) -> None:
    """Show it once, or every second until Ctrl-C."""
    if watch:
        with suppress(KeyboardInterrupt):
            read(lambda storage: follow(storage, shape, as_json))
        return
    seen = read(shape.ask)
    say(console(), line(shape.facts(seen)) if as_json else shape.view(seen))


async def follow(storage: RedisStorage, shape: Shape[T], as_json: bool) -> None:
    screen = console()
    with Live(console=screen, auto_refresh=False, transient=False) as live:
        while True:
            shown = await look(storage, shape, as_json)
            if as_json or not screen.is_terminal:
                say(screen, shown)
            else:
                live.update(shown, refresh=True)
            await asyncio.sleep(PERIOD_SECONDS)


async def look(storage: RedisStorage, shape: Shape[T], as_json: bool) -> RenderableType:
    try:
        seen = await shape.ask(storage)
    except StorageUnavailable as error:
        return line({"error": str(error)}) if as_json else str(error)
    return line(shape.facts(seen)) if as_json else shape.view(seen)


def say(screen: Console, shown: RenderableType) -> None:
    click.echo(shown) if isinstance(shown, str) else screen.print(shown)


def line(facts: object) -> str:
    return json_line(facts)
