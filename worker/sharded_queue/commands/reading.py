"""What the commands that read share: a storage, a console, and text that is safe to print."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
import msgspec
from rich.console import Console

from sharded_queue.connections import close, connect
from sharded_queue.storages.redis import RedisStorage

T = TypeVar("T")
PIPE_WIDTH = 160
"""Columns where no terminal says how many there are: enough that no table is cut."""


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
        click.echo(msgspec.json.encode(value).decode())
    else:
        click.echo("\n".join(lines))


def shown(text: bytes | str) -> str:
    """As it is, but for what would move the cursor or could not be printed."""
    decoded = text.decode(errors="backslashreplace") if isinstance(text, bytes) else text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)
