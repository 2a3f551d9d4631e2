"""`sharded-queue reshard`: over how many threads the keys of a handler are spread."""

from collections.abc import Sequence

import click

from sharded_queue.commands.naming import BadInput, Named, module_options, named
from sharded_queue.commands.reading import emit, read
from sharded_queue.storage import ShardState
from sharded_queue.storages.redis import RedisStorage
from sharded_queue.tube import THREADS_BOUND, threads_fault

States = Sequence[ShardState]


@click.command()
@click.argument("handler")
@click.argument("threads", type=click.IntRange(1, THREADS_BOUND), required=False)
@module_options
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON.")
def reshard(handler: str, threads: int | None, modules: tuple[str, ...], spread: int | None, as_json: bool) -> None:
    """
    Spread the keys of a handler over THREADS threads, for all producers at once and without reordering: a thread of the
    new layout waits until those of the old one that it shares keys with are drained. Without THREADS, say how it is.
    """
    (found,) = named([handler], modules, spread)
    if threads is not None and (fault := threads_fault(threads, found.spread)):
        raise BadInput(f"THREADS is {fault}")
    before, after = read(lambda storage: changed(storage, found, threads))
    facts = {"handler": handler, **layout(after), "changed": layout(before)["layout"] != layout(after)["layout"]}
    emit(as_json, facts, said(facts))


async def changed(storage: RedisStorage, handler: Named, threads: int | None) -> tuple[States, States]:
    """The states before and after."""
    before = await storage.observe(handler.shards, 0)
    if not any(state.layout for state in before):
        raise BadInput(f"no request of {handler.name} was ever registered by key: its class says how many `threads`")
    if threads is None:
        return before, before
    for shard in handler.shards:
        await storage.reshard(shard, threads)
    return before, await storage.observe(handler.shards, 0)


def layout(states: States) -> dict[str, int]:
    """The layout in force, of shards that were all asked for the same one, and what is left of the one before."""
    latest = max((state.layout for state in states if state.layout), key=lambda layout: layout.number)
    return {
        "threads": latest.threads,
        "layout": latest.number,
        "undrained": sum(state.undrained for state in states),
        "parked": sum(state.parked for state in states),
    }


def said(facts: dict[str, object]) -> str:
    text = "the keys of {handler} are spread over {threads} threads, by layout {layout}"
    if facts["undrained"]:
        text += "; {undrained} threads of the layout before are not drained, {parked} wait for them"
    return text.format(**facts)
