"""`sharded-queue workers`: which workers serve which handlers, and what they hold."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import click

from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli import answers
from sharded_queue.cli.arguments import NAME, Sought, everything_option, module_options
from sharded_queue.cli.output import console, emit_lines, observed, read
from sharded_queue.cli.tables import Fitted, count, duration, name, number, progress_words, text, word
from sharded_queue.lease import worker_of
from sharded_queue.printable import instant, printable
from sharded_queue.state import Hold, Progress, ShardState, WorkerState
from sharded_queue.tube import Shard


class Known(NamedTuple):
    """What a shard knows of its workers, with what handlers reported of the threads in their hands."""

    shard: Shard
    workers: Sequence[WorkerState]
    holds: Sequence[Hold]
    reports: Mapping[str, Progress]


class Serving(NamedTuple):
    """
    A worker, with what its shards know of it: nothing but its holds, if it never told of itself. *longest*: the thread
    that it has been at work on for the longest time, if any, with its report.
    """

    owner: str
    handlers: Sequence[str] = ()
    holds: Sequence[Hold] = ()
    told: WorkerState | None = None
    longest: tuple[Hold, Progress | None] | None = None


@click.command()
@click.argument("handlers", nargs=-1, type=NAME)
@everything_option
@module_options
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per worker.")
def workers(
    handlers: tuple[str, ...], everything: bool, modules: tuple[str, ...], spread: int | None, as_json: bool
) -> None:
    """
    List the workers of handlers: those that polled or renewed a lease in the last five minutes, and those that hold
    one of the first 1,000 bound threads of a shard.

    THREADS are those of these handlers. LANES is how many threads the worker holds at most, of all its handlers: it may
    be full with threads of others.
    """
    sought = Sought(handlers, modules, spread, everything)
    found = read(lambda storage: serving(storage, sought))
    if as_json:
        emit_lines(map(answer, found))
    elif found:
        show(found)
    else:
        click.echo("no worker polled for threads in the last five minutes")


async def serving(storage: RedisStorage, sought: Sought) -> list[Serving]:
    """The workers of all these handlers, by name."""
    shards = await sought.shards(storage)
    states = await observed(storage, shards, 0) if shards else []
    return merged([await known(storage, state) for state in states])


async def known(storage: RedisStorage, state: ShardState) -> Known:
    threads = [hold.thread for hold in busy(state.held)]
    reports = await storage.progress(state.shard, threads) if threads else {}
    return Known(state.shard, await storage.workers(state.shard), state.held, reports)


def merged(seen: Iterable[Known]) -> list[Serving]:
    """One entry for each worker, from what each shard knows of it."""
    found: dict[str, Serving] = {}
    for shard, workers, holds, reports in seen:
        told = {each.owner: each for each in workers}
        held = [hold for hold in holds if hold.lease_seconds > 0]
        for owner in told.keys() | {hold.owner for hold in held}:
            before = found.get(owner, Serving(owner))
            own = [hold for hold in held if hold.owner == owner]
            states = [state for state in (before.told, told.get(owner)) if state]
            at_work = [before.longest, *((hold, reports.get(hold.thread)) for hold in busy(own)[:1])]
            found[owner] = Serving(
                owner,
                sorted({*before.handlers, shard.handler}),
                [*before.holds, *own],
                min(states, key=lambda state: state.told_seconds, default=None),
                max((each for each in at_work if each), key=lambda each: each[0].busy_seconds, default=None),
            )
    return [found[owner] for owner in sorted(found)]


def busy(holds: Sequence[Hold]) -> list[Hold]:
    """The threads with requests, that of the longest work first."""
    return sorted((hold for hold in holds if hold.busy_seconds), key=lambda hold: -hold.busy_seconds)


def answer(each: Serving) -> answers.Worker:
    return answers.Worker(
        worker=worker_of(each.owner),
        owner=each.owner,
        handlers=list(each.handlers),
        threads=len(each.holds),
        busy=len(busy(each.holds)),
        busy_seconds=max((hold.busy_seconds for hold in each.holds), default=0.0),
        version=each.told.version if each.told else None,
        concurrency=each.told.concurrency if each.told else None,
        started_at=answers.at(each.told.started_ms) if each.told else None,
        told_seconds=each.told.told_seconds if each.told else None,
        longest_thread=each.longest[0].thread if each.longest else None,
        progress=answers.progress(each.longest[1]) if each.longest else None,
    )


def show(found: Sequence[Serving]) -> None:
    columns = [name("worker"), text("handlers"), number("threads"), number("lanes"), number("busy")]
    columns += [number("busy for"), word("version"), word("started"), number("up"), number("last asked")]
    is_reported = any(each.longest and each.longest[1] for each in found)
    columns += [text("progress")] * is_reported
    console().print(Fitted(columns, [[*row(each), *[reported(each)] * is_reported] for each in found]))


def reported(each: Serving) -> str:
    """What the handler of its longest work reported, with the thread."""
    hold, progress = each.longest or (None, None)
    return printable(f"{hold.thread}: {progress_words(progress)}") if hold and progress else ""


def row(each: Serving) -> list[str]:
    told, at_work = each.told, busy(each.holds)
    lanes = count(told.concurrency) if told else ""
    cells = [worker_of(each.owner), ", ".join(each.handlers), count(len(each.holds)), lanes, count(len(at_work))]
    cells.append(duration(at_work[0].busy_seconds) if at_work else "")
    if told is None:
        return [*cells, "", "", "", ""]
    up = duration(max(0.0, time.time() - told.started_ms / 1000))
    return [*cells, told.version, instant(told.started_ms), up, f"{duration(told.told_seconds)} ago"]
