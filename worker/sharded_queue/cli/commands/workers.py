"""`sharded-queue workers`: which workers serve which handlers, and what they hold."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

import click

from sharded_queue.admin.handlers import HandlerSelection
from sharded_queue.admin.words import NO_WORKERS, count, duration
from sharded_queue.admin.workers import Serving, busy, known, merged, reported, worker_json
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import about_handlers
from sharded_queue.cli.output import console, emit_lines, observed, read
from sharded_queue.cli.tables import Fitted, extra, name, number, text, word
from sharded_queue.lease import worker_of
from sharded_queue.printable import instant
from sharded_queue.state import TOLD_SECONDS


@click.command()
@about_handlers
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per worker.")
def workers(sought: HandlerSelection, as_json: bool) -> None:
    """
    List the workers of handlers: those that polled or renewed a lease in the last five minutes, and those that hold
    one of the first 1,000 bound threads of a shard.

    THREADS are those of these handlers. LANES is how many threads the worker holds at most, of all its handlers: it may
    be full with threads of others.
    """
    found = read(lambda storage: serving(storage, sought))
    if as_json:
        emit_lines(map(worker_json, found))
    elif found:
        show(found)
    else:
        click.echo(NO_WORKERS)


async def serving(storage: RedisStorage, sought: HandlerSelection) -> list[Serving]:
    """The workers of all these handlers, by name."""
    shards = await sought.shards(storage)
    states = await observed(storage, shards, 0) if shards else []
    return merged([await known(storage, state) for state in states])


def show(found: Sequence[Serving]) -> None:
    columns = [name("worker"), text("handlers"), number("threads"), number("lanes"), number("busy")]
    columns += [number("busy for"), number("last asked"), extra(number("up")), extra(word("version"))]
    columns.append(extra(word("started")))
    names = Counter(worker_of(each.owner) for each in found)
    is_reported = any(each.longest and each.longest[1] for each in found)
    columns += [text("progress")] * is_reported
    console().print(Fitted(columns, [[*row(each, names), *[reported(each)] * is_reported] for each in found]))


def row(each: Serving, names: Mapping[str, int]) -> list[str]:
    """*names*: how many workers have each name. One that was silent for long may be gone: it is not called up."""
    told, at_work, worker = each.told, busy(each.holds), worker_of(each.owner)
    lanes = count(told.concurrency) if told else ""
    cells = [worker if names[worker] == 1 else each.owner, ", ".join(each.handlers), count(len(each.holds)), lanes]
    cells += [count(len(at_work)), duration(at_work[0].busy_seconds) if at_work else ""]
    if told is None:
        return [*cells, "", "", "", ""]
    up = duration(max(0.0, time.time() - told.started_ms / 1000)) if told.told_seconds < TOLD_SECONDS else ""
    return [*cells, f"{duration(told.told_seconds)} ago", up, told.version, instant(told.started_ms)]
