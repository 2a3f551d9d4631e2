"""`sharded-queue peek`: the requests of a tube, page by page."""

import click
from rich.text import Text

from sharded_queue.admin import answers
from sharded_queue.admin.handlers import Named, must_have
from sharded_queue.admin.words import duration
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import BadInput, about_handler
from sharded_queue.cli.output import LONGEST, console, emit_lines, read_about
from sharded_queue.cli.tables import Fitted, number, text
from sharded_queue.options import NAME
from sharded_queue.printable import printable
from sharded_queue.settings import settings
from sharded_queue.tube import Tube

Messages = list[tuple[int, bytes]]
PAGE = 1000
"""Requests of one step of `--all`."""


@click.command()
@about_handler
@click.argument("thread", type=NAME)
@click.argument("priority", type=int, default=lambda: settings.default_priority)
@click.option("--count", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Requests to show.")
@click.option(
    "--after", type=click.IntRange(-(2**53), 2**53), metavar="SEQUENCE", help="Go on behind the request of this number."
)
@click.option("--all", "is_all", is_flag=True, help="Show all of them, page by page.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per request.")
def peek(
    handler: Named, thread: str, priority: int, count: int, after: int | None, is_all: bool, as_json: bool
) -> None:
    """
    Show the first requests of a tube, or those that follow. They stay where they are. Without PRIORITY, it is the tube
    of QUEUE_DEFAULT_PRIORITY, 0.
    """
    tube = Tube(handler.shard_of(thread), thread, priority)

    async def shown(storage: RedisStorage) -> None:
        page = await first(storage, handler, tube, PAGE if is_all else count, after)
        if not page and not as_json:
            click.echo(f"nothing waits in {tube}" + ("" if after is None else f" behind request {after}"))
        while page:
            show(page, as_json)
            page = await storage.peek(tube, PAGE, page[-1][0]) if is_all else []

    read_about(handler, shown)


async def first(storage: RedisStorage, handler: Named, tube: Tube, count: int, after: int | None) -> Messages:
    """
    Raises:
        BadInput: the thread, or its tube of that priority, has no requests.
    """
    if messages := await storage.peek(tube, count, after):
        return messages
    if after is not None and await storage.peek(tube, 1):
        return []
    await must_have(storage, handler, tube.thread)
    state = await storage.explain(tube.shard, tube.thread)
    if others := ", ".join(str(each.priority) for each in state.tubes):
        raise BadInput(f"nothing waits in {tube}: the thread has requests of priority {others}")
    return []


def show(messages: Messages, as_json: bool) -> None:
    found = [answers.peeked(*each) for each in messages]
    if as_json:
        emit_lines(found)
        return
    has_headers = any(each.headers for each in found)
    columns = [number("sequence"), number("waits"), *[text("headers")] * has_headers, text("request")]
    console().print(Fitted(columns, [cells(each, has_headers) for each in found]))


def cells(each: answers.Peeked, has_headers: bool) -> list[str | Text]:
    waits = "" if each.waits_seconds is None else duration(each.waits_seconds)
    headers = ", ".join(f"{name}={value}" for name, value in each.headers.items())
    request = (
        Text(printable(bytes(each.request), LONGEST))
        if each.unreadable is None
        else Text(printable(each.unreadable, LONGEST), "red")
    )
    return [str(each.sequence), waits, *[Text(printable(headers, LONGEST))] * has_headers, request]
