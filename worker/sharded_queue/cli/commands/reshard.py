"""`sharded-queue reshard`: spread the keys of a handler over more or fewer threads."""

from collections.abc import Sequence

import click

from sharded_queue.admin import answers
from sharded_queue.admin.handlers import Named, named
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import BadInput
from sharded_queue.cli.output import emit, read_about
from sharded_queue.options import NAME, module_options
from sharded_queue.printable import counted, printable
from sharded_queue.state import ShardState
from sharded_queue.tube import THREADS_BOUND, Layout, threads_fault

States = Sequence[ShardState]


@click.command(short_help="Spread the keys of a handler over more or fewer threads.")
@click.argument("handler", type=NAME)
@click.argument("threads", type=click.IntRange(1, THREADS_BOUND), required=False)
@module_options
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def reshard(handler: str, threads: int | None, modules: tuple[str, ...], spread: int | None, as_json: bool) -> None:
    """
    Spread the keys of a handler over THREADS threads, for all producers at once and without reordering: a thread of the
    new layout waits until the threads of the old layout that share keys with it are drained. Without THREADS, show the
    layout in force.
    """
    (found,) = named([handler], modules, spread)
    if threads is not None and (fault := threads_fault(threads, found.spread)):
        raise BadInput(f"THREADS is {fault}")
    before, after = read_about(found, lambda storage: changed(storage, found, threads))
    answer = layout(handler, before, after)
    emit(as_json, answer, said(answer))


async def changed(storage: RedisStorage, handler: Named, threads: int | None) -> tuple[States, States]:
    """The states before and after."""
    before = await storage.observe(handler.shards, 0)
    if not any(state.layout for state in before):
        raise BadInput(f"no request of {handler.name} was ever registered by key: set `threads` in its class")
    if threads is None:
        return before, before
    for shard in handler.shards:
        await storage.reshard(shard, threads)
    return before, await storage.observe(handler.shards, 0)


def layout(handler: str, before: States, after: States) -> answers.Layout:
    """The layout in force, of shards that were all asked for the same one, and what is left of the one before."""
    latest = latest_of(after)
    return answers.Layout(
        handler=handler,
        threads=latest.threads,
        layout=latest.number,
        undrained=sum(state.undrained for state in after),
        parked=sum(state.parked for state in after),
        changed=latest_of(before).number != latest.number,
    )


def latest_of(states: States) -> Layout:
    return max((state.layout for state in states if state.layout), key=lambda layout: layout.number)


def said(answer: answers.Layout) -> str:
    spread = counted(answer.threads, "thread")
    words = f"the keys of {printable(answer.handler)} are spread over {spread}, by layout {answer.layout}"
    if answer.undrained:
        drained = "is not drained" if answer.undrained == 1 else "are not drained"
        waits = "waits" if answer.parked == 1 else "wait"
        undrained = f"{counted(answer.undrained, 'thread')} of the previous layout {drained}"
        words += f"; {undrained}, {answer.parked} {waits} for them"
    return words
