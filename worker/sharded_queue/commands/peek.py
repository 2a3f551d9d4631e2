"""`sharded-queue peek`: the next requests of a tube."""

import time

import click
import msgspec
from rich.text import Text

from sharded_queue.commands.naming import module_options, named
from sharded_queue.commands.reading import LONGEST, console, read
from sharded_queue.errors import SerializationError
from sharded_queue.printable import printable
from sharded_queue.serializer import unpack
from sharded_queue.settings import settings
from sharded_queue.tube import Tube
from sharded_queue.views import duration, table


@click.command()
@click.argument("handler")
@click.argument("thread")
@click.argument("priority", type=int, default=lambda: settings.default_priority)
@module_options
@click.option("--count", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Requests to show.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON a request.")
def peek(
    handler: str, thread: str, priority: int, modules: tuple[str, ...], spread: int | None, count: int, as_json: bool
) -> None:
    """The first requests of a tube; they stay where they are."""
    (found,) = named([handler], modules, spread)
    tube = Tube(found.shard_of(thread), thread, priority)
    messages = read(lambda storage: storage.peek(tube, count))
    if as_json:
        for sequence, message in messages:
            click.echo(msgspec.json.encode({"sequence": sequence, "message": printable(message)}).decode())
    elif messages:
        show(messages)
    else:
        click.echo(f"nothing waits in {printable(str(tube))}")


def show(messages: list[tuple[int, bytes]]) -> None:
    made = table("sequence", "waits", "headers", "request", left=4)
    for sequence, message in messages:
        made.add_row(str(sequence), *described(message))
    console().print(made)


def described(message: bytes) -> tuple[str, Text, Text]:
    try:
        registered_ms, body, headers = unpack(message)
    except SerializationError:
        return "", Text(""), Text(printable(message, LONGEST), style="red")
    texts = ", ".join(f"{name}={value}" for name, value in headers.items())
    return (
        duration(max(0.0, time.time() - registered_ms / 1000)),
        Text(printable(texts, LONGEST)),
        Text(printable(body, LONGEST)),
    )
