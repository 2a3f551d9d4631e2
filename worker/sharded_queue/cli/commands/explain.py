"""`sharded-queue explain`: why a thread does not move."""

import click

from sharded_queue.admin import answers
from sharded_queue.admin.handlers import Named, must_have, named
from sharded_queue.admin.words import failure_sentence, progress_sentences, thread_sentence, tube_sentence
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.output import emit, read_about
from sharded_queue.options import NAME, module_options
from sharded_queue.printable import printable
from sharded_queue.state import ThreadState


@click.command()
@click.argument("handler", type=NAME)
@click.argument("thread", type=NAME)
@module_options
@click.option("--json", "as_json", is_flag=True, help="Print the state of the thread as JSON.")
def explain(handler: str, thread: str, modules: tuple[str, ...], spread: int | None, as_json: bool) -> None:
    """Say why a thread moves or does not."""
    (found,) = named([handler], modules, spread)
    state = read_about(found, lambda storage: explained(storage, found, thread))
    said = [
        printable(thread_sentence(state)),
        *progress_sentences(state.progress),
        *map(tube_sentence, state.tubes),
        *map(failure_sentence, state.failures),
    ]
    emit(as_json, answers.thread(handler, state), *said)


async def explained(storage: RedisStorage, handler: Named, thread: str) -> ThreadState:
    await must_have(storage, handler, thread)
    return await storage.explain(handler.shard_of(thread), thread)
