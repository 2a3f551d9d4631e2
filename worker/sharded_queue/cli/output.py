"""What commands share: a storage, a console, and an answer as JSON or as text."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import click
from rich.console import Console

from sharded_queue.admin.handlers import Named, must_be_known
from sharded_queue.backends.redis.client import close, connect
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.printable import json_line, printable
from sharded_queue.state import ShardState
from sharded_queue.storage import observe_readable
from sharded_queue.tube import Shard

T = TypeVar("T")
PIPE_WIDTH = 10_000
"""Columns of output that is not a terminal, without COLUMNS: enough that nothing is cut or wrapped."""


LONGEST = 2000
"""Characters of a request or an error in a table: laying out megabytes takes seconds and helps nobody."""


def console() -> Console:
    plain = Console()
    return plain if plain.is_terminal or os.environ.get("COLUMNS", "").isdigit() else Console(width=PIPE_WIDTH)


def read(ask: Callable[[RedisStorage], Awaitable[T]]) -> T:
    """Ask the Redis of the settings one question."""
    return asyncio.run(_read(ask))


def read_about(handler: Named, ask: Callable[[RedisStorage], Awaitable[T]], *, force: bool = False) -> T:
    """
    As `read`, about one handler.

    Raises:
        BadInput: Redis has never seen the handler, and *force* is not set.
    """

    async def known(storage: RedisStorage) -> T:
        if not force:
            await must_be_known(storage, handler)
        return await ask(storage)

    return read(known)


async def _read(ask: Callable[[RedisStorage], Awaitable[T]]) -> T:
    client = connect()
    try:
        return await ask(RedisStorage(client))
    finally:
        await close(client)


def emit(as_json: bool, value: object, *lines: str) -> None:
    """Print an answer, for programs or for people."""
    if as_json:
        click.echo(json_line(value))
    else:
        click.echo("\n".join(lines))


def emit_lines(answers: Iterable[object]) -> None:
    """Print a list for programs: one line of JSON for each item."""
    for answer in answers:
        click.echo(json_line(answer))


async def observed(storage: RedisStorage, shards: Sequence[Shard], worst: int) -> list[ShardState]:
    """
    The states of all shards that can be read. For the others, prints why they cannot.

    Raises:
        UnreadableData: no shard can be read.
    """
    states, unreadable = await observe_readable(storage, shards, worst)
    if unreadable and not states:
        raise unreadable[0]
    for error in unreadable:
        click.echo(printable(str(error)), err=True)
    return states
