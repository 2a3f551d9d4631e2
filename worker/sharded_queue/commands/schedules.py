"""`sharded-queue schedules`: what is registered again and again, and when next."""

from datetime import UTC, datetime

import click
import msgspec
from rich.text import Text

from sharded_queue.commands.naming import BadInput, Named, module_options, named
from sharded_queue.commands.reading import console, emit, read
from sharded_queue.printable import printable
from sharded_queue.storage import Upcoming
from sharded_queue.storages.redis import RedisStorage
from sharded_queue.views import table


@click.group()
def schedules() -> None:
    """Schedules: requests that are registered again and again."""


@schedules.command("list")
@click.argument("handler")
@module_options
@click.option("--json", "as_json", is_flag=True, help="A line of JSON a schedule.")
def list_(handler: str, modules: tuple[str, ...], spread: int | None, as_json: bool) -> None:
    """The schedules of a handler, the next to occur first."""
    (found,) = named([handler], modules, spread)
    upcoming = read(lambda storage: next_first(storage, found))
    if as_json:
        for schedule in upcoming:
            click.echo(msgspec.json.encode({**schedule._asdict(), "body": printable(schedule.body)}).decode())
    elif upcoming:
        show(upcoming)
    else:
        click.echo(f"{handler} has no schedules")


async def next_first(storage: RedisStorage, handler: Named) -> list[Upcoming]:
    found = [schedule for shard in handler.shards for schedule in await storage.schedules(shard)]
    return sorted(found, key=lambda schedule: schedule.next_ms)


def show(upcoming: list[Upcoming]) -> None:
    made = table("name", "timing", "next", "tube", "request", left=5)
    for schedule in upcoming:
        texts = (schedule.name, schedule.timing, when(schedule.next_ms), f"{schedule.thread}/{schedule.priority}")
        made.add_row(*(Text(printable(text)) for text in (*texts, schedule.body)))
    console().print(made)


def when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


@schedules.command()
@click.argument("handler")
@click.argument("name")
@module_options
@click.option("--json", "as_json", is_flag=True, help="Whether there was one, as JSON.")
def remove(handler: str, name: str, modules: tuple[str, ...], spread: int | None, as_json: bool) -> None:
    """Remove a schedule. What has occurred already stays in its tube."""
    (found,) = named([handler], modules, spread)
    if not read(lambda storage: removed(storage, found, name)):
        raise BadInput(f"{handler} has no schedule {name!r}; `sharded-queue schedules list {handler}` shows them")
    emit(as_json, {"handler": handler, "removed": name}, f"{handler}: schedule {name} is removed")


async def removed(storage: RedisStorage, handler: Named, name: str) -> bool:
    return any([await storage.unschedule(shard, name) for shard in handler.shards])
