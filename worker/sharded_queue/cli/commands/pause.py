"""`sharded-queue pause`, `resume` and `paused`: stop handing out requests, resume, and list what is paused."""

import click

from sharded_queue.admin import answers
from sharded_queue.admin.handlers import HandlerSelection, must_be_there, must_have, named
from sharded_queue.admin.pause import list_paused, set_paused
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import everything_option, force_option
from sharded_queue.cli.output import emit, emit_lines, read, read_about
from sharded_queue.options import NAME, module_options
from sharded_queue.printable import printable

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
        return await set_paused(storage, found, thread, is_paused=True)

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
        changed = await set_paused(storage, found, thread, is_paused=False)
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
    sought = HandlerSelection(handlers, modules, spread, everything)
    found = read(lambda storage: list_paused(storage, sought))
    if as_json:
        emit_lines(found)
    else:
        click.echo("\n".join(printable(paused_words(each)) for each in found) or "nothing is paused")


def told(as_json: bool, answer: answers.Switched, state: str) -> None:
    what = printable(named_as(answer))
    emit(as_json, answer, f"{what} is {state}" if answer.changed else f"{what} was {state} already")


def paused_words(each: answers.Paused) -> str:
    return f"{named_as(each)}: {each.act}" if each.act else named_as(each)


def named_as(what: answers.Paused | answers.Switched) -> str:
    return f"thread {what.thread} of {what.handler}" if what.thread else what.handler
