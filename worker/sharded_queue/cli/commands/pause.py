"""`sharded-queue pause`, `resume` and `paused`: stop handing out requests, resume, and list what is paused."""

import click

from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli import answers
from sharded_queue.cli.arguments import (
    NAME,
    BadInput,
    Named,
    Sought,
    everything_option,
    force_option,
    meant,
    module_options,
    must_have,
    named,
)
from sharded_queue.cli.output import emit, emit_lines, read, read_about
from sharded_queue.printable import printable
from sharded_queue.route import Route, checked
from sharded_queue.tube import Shard

json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")


@click.command()
@click.argument("handler", type=NAME)
@click.argument("thread", type=NAME, required=False)
@module_options
@force_option
@json_option
def pause(
    handler: str, thread: str | None, modules: tuple[str, ...], spread: int | None, force: bool, as_json: bool
) -> None:
    """
    Pause a handler, or one thread: workers finish their running batches and take no new ones.

    Use --force for a handler or a thread that has no requests yet. `sharded-queue paused` lists what is paused.
    """
    (found,) = named([handler], modules, spread)

    async def paused(storage: RedisStorage) -> bool:
        if thread and not force:
            await must_have(storage, found, thread)
        return await switched(storage, found, thread, is_paused=True)

    changed = read_about(found, paused, force=force)
    told(as_json, answers.Switched(handler=handler, thread=thread, paused=True, changed=changed), "paused")


@click.command()
@click.argument("handler", type=NAME)
@click.argument("thread", type=NAME, required=False)
@module_options
@json_option
def resume(handler: str, thread: str | None, modules: tuple[str, ...], spread: int | None, as_json: bool) -> None:
    """Resume a handler, or one thread."""
    (found,) = named([handler], modules, spread)

    async def resumed(storage: RedisStorage) -> bool:
        changed = await switched(storage, found, thread, is_paused=False)
        if thread and not changed:
            await must_be_there(storage, found, thread)
        return changed

    changed = read_about(found, resumed)
    told(as_json, answers.Switched(handler=handler, thread=thread, paused=False, changed=changed), "running")


@click.command()
@click.argument("handlers", type=NAME, nargs=-1, metavar="[HANDLER]...")
@module_options
@everything_option
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per paused handler or thread.")
def paused(
    handlers: tuple[str, ...], modules: tuple[str, ...], spread: int | None, everything: bool, as_json: bool
) -> None:
    """List paused handlers and paused threads."""
    sought = Sought(handlers, modules, spread, everything)
    found = read(lambda storage: withheld(storage, sought))
    if as_json:
        emit_lines(found)
    else:
        click.echo("\n".join(printable(paused_words(each)) for each in found) or "nothing is paused")


async def withheld(storage: RedisStorage, sought: Sought) -> list[answers.Paused]:
    shards = await sought.shards(storage)
    states = await storage.observe(shards, 0)
    whole = dict.fromkeys(state.shard.handler for state in states if state.is_paused)
    listed = [answers.Paused(handler=handler, thread=None) for handler in whole]
    for shard in shards:
        acts = await storage.acts(shard)
        threads = await storage.paused(shard)
        listed += [answers.Paused(handler=shard.handler, thread=each, act=acts.get(each)) for each in threads]
    return listed


async def switched(storage: RedisStorage, handler: Named, thread: str | None, *, is_paused: bool) -> bool:
    """
    Raises:
        RouteError: no request can have this thread. One that was paused in spite of that can be resumed.
    """
    if thread is not None and is_paused:
        checked(Route(thread))
    shards: list[Shard] = [handler.shard_of(thread)] if thread else handler.shards
    return any([await storage.pause(shard, thread, is_paused) for shard in shards])


async def must_be_there(storage: RedisStorage, handler: Named, thread: str) -> None:
    """
    Refuse a thread that is not paused and has no requests: its name is probably a typo.

    Raises:
        BadInput: there is no such thread now. The message names the nearest one.
    """
    state = await storage.explain(handler.shard_of(thread), thread)
    if not state.tubes and not state.owner:
        there = [each for shard in handler.shards for each in await storage.paused(shard)]
        raise BadInput(
            f"{printable(handler.name)} has no thread {printable(thread)!r} that is paused or has requests"
            f"{meant(thread, there)}"
        )


def told(as_json: bool, answer: answers.Switched, state: str) -> None:
    what = printable(named_as(answer))
    emit(as_json, answer, f"{what} is {state}" if answer.changed else f"{what} was {state} already")


def paused_words(each: answers.Paused) -> str:
    return f"{named_as(each)}: {each.act}" if each.act else named_as(each)


def named_as(what: answers.Paused | answers.Switched) -> str:
    return f"thread {what.thread} of {what.handler}" if what.thread else what.handler
