"""`sharded-queue delayed`: requests that are not due yet."""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import click
from rich.text import Text

from sharded_queue.admin import answers
from sharded_queue.admin.delayed import next_first
from sharded_queue.admin.handlers import Named, named
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import MOMENT, BadInput
from sharded_queue.cli.output import LONGEST, console, emit, emit_lines, read_about
from sharded_queue.cli.tables import Fitted, name, number, text, word
from sharded_queue.options import NAME, module_options
from sharded_queue.printable import be, counted, instant, printable
from sharded_queue.serializer import body_of
from sharded_queue.state import Delayed
from sharded_queue.steps import in_steps
from sharded_queue.storage import LONGEST_DELAY_SECONDS, STEP_NUMBERS
from sharded_queue.tube import Shard

Step = Callable[[RedisStorage, Shard, Sequence[int]], Awaitable[list[int]]]
"""What becomes of delayed requests, given by their numbers; returns the numbers for which it was done."""
MOST = 100_000
"""Delayed requests that are listed."""


@click.group()
def delayed() -> None:
    """Delayed requests: those that are not due yet."""


@delayed.command("list")
@click.argument("handler", type=NAME)
@module_options
@click.option("--count", type=click.IntRange(1, MOST), default=100, show_default=True, help="Requests to show.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per request.")
def list_(handler: str, modules: tuple[str, ...], spread: int | None, count: int, as_json: bool) -> None:
    """List the delayed requests of a handler, the next due first."""
    (found,) = named([handler], modules, spread)
    waiting = read_about(found, lambda storage: next_first(storage, found, count))
    if as_json:
        emit_lines(map(answers.delayed, waiting))
    elif waiting:
        show(waiting)
    else:
        click.echo(f"{printable(handler)} has no delayed requests")


def show(waiting: Sequence[Delayed]) -> None:
    columns = [number("number"), name("tube"), word("due"), text("request")]
    rows: list[list[str | Text]] = [
        [
            str(each.sequence),
            f"{each.tube.thread}/{each.tube.priority}",
            instant(each.due_ms),
            Text(printable(body_of(each.body), LONGEST)),
        ]
        for each in waiting
    ]
    console().print(Fitted(columns, rows))


@delayed.command()
@click.argument("handler", type=NAME)
@click.argument("numbers", type=click.IntRange(0, 2**53), nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="All delayed requests of the handler.")
@module_options
@click.option("--json", "as_json", is_flag=True, help="Print the cancelled numbers, and the others, as JSON.")
def cancel(
    handler: str, numbers: tuple[int, ...], is_all: bool, modules: tuple[str, ...], spread: int | None, as_json: bool
) -> None:
    """
    Cancel delayed requests by the NUMBERS that `delayed list` and the receipts of a registration show. Exit 1 if one of
    them is not delayed any more: it is in its tube, was handled, or never existed.
    """
    done, left = carry_out(numbered(handler, numbers, is_all, modules, spread), numbers, RedisStorage.cancel)
    said = [f"{each} is not delayed, and was not cancelled" for each in left]
    words = f"{counted(len(done), 'delayed request')} of {printable(handler)} {be(len(done))} cancelled"
    emit(as_json, answers.Cancelled(handler=handler, cancelled=done, unknown=left), words, *said)
    if left:
        raise SystemExit(1)


@delayed.command()
@click.argument("handler", type=NAME)
@click.argument("numbers", type=click.IntRange(0, 2**53), nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="All delayed requests of the handler.")
@module_options
@click.option("--json", "as_json", is_flag=True, help="Print the numbers that joined their tubes, and the others.")
def run(
    handler: str, numbers: tuple[int, ...], is_all: bool, modules: tuple[str, ...], spread: int | None, as_json: bool
) -> None:
    """
    Let delayed requests join the tails of their tubes now, by the NUMBERS that `delayed list` shows. Exit 1 if one of
    them is not delayed any more.
    """
    done, left = carry_out(numbered(handler, numbers, is_all, modules, spread), numbers, RedisStorage.run_delayed)
    said = [f"{each} is not delayed, and was not run" for each in left]
    words = f"{counted(len(done), 'delayed request')} of {printable(handler)} {be(len(done))} in the tubes now"
    emit(as_json, answers.Ran(handler=handler, ran=done, unknown=left), words, *said)
    if left:
        raise SystemExit(1)


@delayed.command()
@click.argument("handler", type=NAME)
@click.argument("numbers", type=click.IntRange(0, 2**53), nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="All delayed requests of the handler.")
@click.option("--at", "at_ms", type=MOMENT, metavar="TIME", help="The time, as in 2030-01-31T09:00:00Z.")
@click.option("--in", "seconds", type=click.IntRange(1, LONGEST_DELAY_SECONDS), help="Seconds from now.")
@module_options
@click.option("--json", "as_json", is_flag=True, help="Print the time, the numbers that have it now, and the others.")
def move(
    handler: str,
    numbers: tuple[int, ...],
    is_all: bool,
    at_ms: int | None,
    seconds: int | None,
    modules: tuple[str, ...],
    spread: int | None,
    as_json: bool,
) -> None:
    """
    Give delayed requests another time, by the NUMBERS that `delayed list` shows: --at a time, or --in seconds. Exit 1
    if one of them is not delayed any more.
    """
    if (at_ms is None) == (seconds is None):
        raise BadInput("say when: give either --at TIME or --in SECONDS")
    due_ms = at_ms if at_ms is not None else int(time.time() * 1000) + (seconds or 0) * 1000

    def step(storage: RedisStorage, shard: Shard, part: Sequence[int]) -> Awaitable[list[int]]:
        return storage.move_delayed(shard, part, due_ms)

    found = numbered(handler, numbers, is_all, modules, spread)
    try:
        done, left = carry_out(found, numbers, step)
    except ValueError as error:
        raise BadInput(str(error)) from error
    said = [f"{each} is not delayed, and was not moved" for each in left]
    words = f"{counted(len(done), 'delayed request')} of {printable(handler)} {be(len(done))} due at {instant(due_ms)}"
    emit(as_json, answers.Moved(handler=handler, due_at=answers.at(due_ms), moved=done, unknown=left), words, *said)
    if left:
        raise SystemExit(1)


def carry_out(handler: Named, numbers: Sequence[int], step: Step) -> tuple[list[int], list[int]]:
    """The numbers for which *step* was carried out, and those of *numbers* that no delayed request has."""
    done = read_about(handler, lambda storage: in_parts(storage, handler, numbers, step))
    did = set(done)
    return done, [each for each in numbers if each not in did]


async def in_parts(storage: RedisStorage, handler: Named, numbers: Sequence[int], step: Step) -> list[int]:
    """Carry out *step* for these, or for all that are delayed now, the next due first."""
    wanted = {
        shard: list(dict.fromkeys(numbers)) or await storage.delayed_numbers(shard)
        for shard in (handler.shards[:1] if numbers else handler.shards)
    }
    done, total = list[int](), sum(map(len, wanted.values()))
    for shard, of_shard in wanted.items():
        async for part in in_steps(of_shard, partial(step, storage, shard)):
            done += part
            if total > STEP_NUMBERS:
                click.echo(f"{len(done):,} of {counted(total, 'delayed request')}", err=True)
    return done


def numbered(handler: str, numbers: Sequence[int], is_all: bool, modules: tuple[str, ...], spread: int | None) -> Named:
    """
    Raises:
        BadInput: neither NUMBERS nor --all are given, or the numbers may be those of several shards.
    """
    if bool(numbers) == is_all:
        raise BadInput("give the NUMBERS that `delayed list` shows, or --all")
    (found,) = named([handler], modules, spread)
    if numbers and found.spread > 1:
        raise BadInput(f"the {found.spread} shards of {handler} number their requests separately: use --all")
    return found
