"""What the commands that read share: a storage, a console, and an answer as JSON or as text."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
from rich.console import Console

from sharded_queue.connections import close, connect
from sharded_queue.printable import json_line
from sharded_queue.storages.redis import RedisStorage

T = TypeVar("T")
PIPE_WIDTH = 160
"""Columns where no terminal says how many there are: enough that no table is cut."""


LONGEST = 2000
"""Characters of a foreign text in a table: to lay out a message of megabytes takes seconds, and nobody reads it."""


def console() -> Console:
    plain = Console()
    return plain if plain.is_terminal else Console(width=PIPE_WIDTH)


def read(ask: Callable[[RedisStorage], Awaitable[T]]) -> T:
    """The answer to one question about the Redis of the settings."""
    return asyncio.run(_read(ask))


async def _read(ask: Callable[[RedisStorage], Awaitable[T]]) -> T:
    client = connect()
    try:
        return await ask(RedisStorage(client))
    finally:
        await close(client)


def emit(as_json: bool, value: object, *lines: str) -> None:
    """An answer for programs, or for people."""
    if as_json:
        click.echo(json_line(value))
    else:
        click.echo("\n".join(lines))
