"""`sharded-queue schedules`: recurrent requests, and when each is due next."""

import click
from rich.text import Text

from sharded_queue import timing
from sharded_queue.admin import answers
from sharded_queue.admin.handlers import Named, meant, named
from sharded_queue.admin.schedules import next_first
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import BadInput
from sharded_queue.cli.output import LONGEST, console, emit, emit_lines, read_about
from sharded_queue.cli.tables import Fitted, name, text, word
from sharded_queue.options import NAME, module_options
from sharded_queue.printable import instant, printable
from sharded_queue.serializer import body_of
from sharded_queue.state import Upcoming
from sharded_queue.storage import First


@click.group()
def schedules() -> None:
    """Schedules: requests that recur."""


@schedules.command("list")
@click.argument("handler", type=NAME)
@module_options
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per schedule.")
def list_(handler: str, modules: tuple[str, ...], spread: int | None, as_json: bool) -> None:
    """List the schedules of a handler, the next due first."""
    (found,) = named([handler], modules, spread)
    upcoming = read_about(found, lambda storage: next_first(storage, found))
    if as_json:
        emit_lines(map(answers.schedule, upcoming))
    elif upcoming:
        show(upcoming)
    else:
        click.echo(f"{printable(handler)} has no schedules")


def show(upcoming: list[Upcoming]) -> None:
    columns = [name("name"), word("timing"), word("next"), word("while one waits"), name("tube"), text("request")]
    rows: list[list[str | Text]] = [
        [
            schedule.name,
            schedule.timing,
            instant(schedule.next_ms),
            "skip" if schedule.skip_if_waiting else "add",
            f"{schedule.thread}/{schedule.priority}",
            Text(printable(body_of(schedule.body), LONGEST)),
        ]
        for schedule in upcoming
    ]
    console().print(Fitted(columns, rows))


@schedules.command()
@click.argument("handler", type=NAME)
@click.argument("schedule", type=NAME, metavar="NAME")
@module_options
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def remove(handler: str, schedule: str, modules: tuple[str, ...], spread: int | None, as_json: bool) -> None:
    """Remove a schedule. Occurrences that are registered already stay in their tube."""
    (found,) = named([handler], modules, spread)
    read_about(found, lambda storage: removed(storage, found, schedule))
    words = f"{printable(handler)}: schedule {printable(schedule)} is removed"
    emit(as_json, answers.Removed(handler=handler, removed=schedule), words)


async def removed(storage: RedisStorage, handler: Named, schedule: str) -> None:
    """
    Raises:
        BadInput: no schedule has this name.
    """
    if not any([await storage.unschedule(shard, schedule) for shard in handler.shards]):
        raise await unknown(storage, handler, schedule)


@schedules.command()
@click.argument("handler", type=NAME)
@click.argument("schedule", type=NAME, metavar="NAME")
@click.option(
    "--every", "seconds", type=click.FloatRange(timing.SHORTEST_SECONDS, timing.LONGEST_SECONDS), help="Seconds."
)
@click.option("--cron", metavar="LINE", help="Five fields, as in '0 9 * * 1-5'.")
@click.option("--timezone", metavar="ZONE", help="Of the cron line, as in Europe/Berlin. Defaults to UTC.")
@module_options
@click.option("--json", "as_json", is_flag=True, help="Print the timing and the next occurrence as JSON.")
def edit(
    handler: str,
    schedule: str,
    seconds: float | None,
    cron: str | None,
    timezone: str | None,
    modules: tuple[str, ...],
    spread: int | None,
    as_json: bool,
) -> None:
    """
    Give a schedule another timing: an interval (--every) or a line of cron (--cron). A program that declares the
    schedule when it starts puts its own timing back: change it there as well.
    """
    if (seconds is None) == (cron is None):
        raise BadInput("say when: give either --every SECONDS or --cron LINE")
    (found,) = named([handler], modules, spread)
    try:
        when = timing.given(seconds, cron, timezone)
    except ValueError as error:
        raise BadInput(str(error)) from error
    next_ms = read_about(found, lambda storage: edited(storage, found, schedule, when))
    words = f"{printable(handler)}: schedule {printable(schedule)} occurs {when}, next at {instant(next_ms)}"
    told = answers.Edited(handler=handler, schedule=schedule, timing=str(when), next_at=answers.at(next_ms))
    emit(as_json, told, words)


async def edited(storage: RedisStorage, handler: Named, schedule: str, when: timing.Timing) -> int:
    """
    Raises:
        BadInput: no schedule has this name.
    """
    for shard in handler.shards:
        if next_ms := await storage.edit_schedule(shard, schedule, when):
            return next_ms
    raise await unknown(storage, handler, schedule)


async def unknown(storage: RedisStorage, handler: Named, schedule: str) -> BadInput:
    near = meant(schedule, [each.name for each in await next_first(storage, handler)])
    listed = near or f"; `sharded-queue schedules list {printable(handler.name)}` shows them"
    return BadInput(f"{printable(handler.name)} has no schedule {printable(schedule)!r}{listed}")


@schedules.command()
@click.argument("handler", type=NAME)
@click.argument("schedule", type=NAME, metavar="NAME")
@module_options
@click.option("--json", "as_json", is_flag=True, help="Print where the request waits as JSON.")
def run(handler: str, schedule: str, modules: tuple[str, ...], spread: int | None, as_json: bool) -> None:
    """Register the request of a schedule now. Its next occurrence stays as it is."""
    (found,) = named([handler], modules, spread)
    thread, priority, sequence = read_about(found, lambda storage: ran(storage, found, schedule))
    words = f"{printable(handler)}: schedule {printable(schedule)} ran: request {sequence} of {thread}/{priority}"
    told = answers.Run(handler=handler, schedule=schedule, thread=thread, priority=priority, sequence=sequence)
    emit(as_json, told, printable(words))


async def ran(storage: RedisStorage, handler: Named, schedule: str) -> First:
    """
    Raises:
        BadInput: no schedule has this name.
    """
    for shard in handler.shards:
        if first := await storage.run_schedule(shard, schedule):
            return first
    raise await unknown(storage, handler, schedule)
