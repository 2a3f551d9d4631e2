"""`sharded-queue peek`: the requests that wait in a thread, page by page."""

from collections.abc import Sequence

import click
from rich.text import Text

from sharded_queue.admin import answers
from sharded_queue.admin import peek as requests
from sharded_queue.admin.handlers import Named
from sharded_queue.admin.words import duration
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import about_handler
from sharded_queue.cli.output import LONGEST, console, emit_lines, read_about
from sharded_queue.cli.tables import Fitted, number, text
from sharded_queue.options import NAME
from sharded_queue.printable import printable


@click.command()
@about_handler
@click.argument("thread", type=NAME)
@click.argument("priority", type=int, required=False)
@click.option("--count", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Requests to show.")
@click.option(
    "--after",
    type=click.IntRange(-(2**53), 2**53),
    metavar="SEQUENCE",
    help="Go on behind the request of this number, in the tube of PRIORITY or QUEUE_DEFAULT_PRIORITY, 0.",
)
@click.option("--all", "is_all", is_flag=True, help="Show all of them, page by page.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per request.")
def peek(
    handler: Named, thread: str, priority: int | None, count: int, after: int | None, is_all: bool, as_json: bool
) -> None:
    """
    Show the requests of a thread that are next, or those of its tube of one PRIORITY. They stay where they are.
    """

    async def shown(storage: RedisStorage) -> None:
        pages = requests.peek(storage, handler, thread, priority, count=None if is_all else count, after=after)
        first = await anext(pages, []) if is_all else [each async for page in pages for each in page]
        if first:
            show(first, as_json, has_priority=priority is None)
        elif not as_json:
            behind = "" if after is None else f" behind request {after}"
            click.echo(printable(f"nothing waits in thread {thread} of {handler.name}{behind}"))
        async for page in pages:
            show(page, as_json, has_priority=priority is None)

    read_about(handler, shown)


def show(page: Sequence[answers.Peeked], as_json: bool, *, has_priority: bool) -> None:
    if as_json:
        emit_lines(page)
        return
    has_headers = any(each.headers for each in page)
    columns = [*[number("priority")] * has_priority, number("sequence"), number("waits")]
    columns += [*[text("headers")] * has_headers, text("request")]
    rows = [[*[str(each.priority)] * has_priority, *cells(each, has_headers)] for each in page]
    console().print(Fitted(columns, rows))


def cells(each: answers.Peeked, has_headers: bool) -> list[str | Text]:
    waits = "" if each.waits_seconds is None else duration(each.waits_seconds)
    headers = ", ".join(f"{name}={value}" for name, value in each.headers.items())
    request = (
        Text(printable(bytes(each.request), LONGEST))
        if each.unreadable is None
        else Text(printable(each.unreadable, LONGEST), "red")
    )
    return [str(each.sequence), waits, *[Text(printable(headers, LONGEST))] * has_headers, request]
