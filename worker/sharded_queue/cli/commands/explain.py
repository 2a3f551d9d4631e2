"""`sharded-queue explain`: the state of a thread, and why."""

import click

from sharded_queue.admin import answers
from sharded_queue.admin.handlers import Named, must_have
from sharded_queue.admin.words import failure_sentence, judge_thread, progress_sentences, tube_sentence
from sharded_queue.cli.arguments import about_handler
from sharded_queue.cli.output import emit, read_about
from sharded_queue.options import NAME
from sharded_queue.printable import printable


@click.command()
@about_handler
@click.argument("thread", type=NAME)
@click.option("--json", "as_json", is_flag=True, help="Print the state of the thread as JSON.")
def explain(handler: Named, thread: str, as_json: bool) -> None:
    """Say what state a thread is in, and why."""
    state = read_about(handler, lambda storage: must_have(storage, handler, thread))
    said = [
        printable(judge_thread(state).text),
        *progress_sentences(state.progress),
        *map(tube_sentence, state.tubes),
        *map(failure_sentence, state.failures),
    ]
    emit(as_json, answers.thread(handler.name, state), *said)
