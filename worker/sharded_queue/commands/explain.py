"""`sharded-queue explain`: why does a thread not move?"""

from collections.abc import Sequence
from dataclasses import asdict
from math import inf

import click

from sharded_queue.commands.naming import module_options, named
from sharded_queue.commands.reading import emit, read
from sharded_queue.printable import printable
from sharded_queue.storage import ThreadState, TubeState
from sharded_queue.views import duration


@click.command()
@click.argument("handler")
@click.argument("thread")
@module_options
@click.option("--json", "as_json", is_flag=True, help="The state of the thread as JSON.")
def explain(handler: str, thread: str, modules: tuple[str, ...], spread: int | None, as_json: bool) -> None:
    """Say why a thread moves or does not."""
    (found,) = named([handler], modules, spread)
    state = read(lambda storage: storage.explain(found.shard_of(thread), thread))
    emit(as_json, asdict(state), printable(sentence(state)), *[printable(described(tube)) for tube in state.tubes])


def sentence(state: ThreadState) -> str:
    """The first thing that keeps the thread from moving, or that it moves."""
    if not state.tubes and not state.flaw:
        held = f"; {state.owner} holds it drained for a moment" if state.owner else ""
        return f"thread {state.thread} has no requests{held}"
    if state.owner:
        return f"thread {state.thread} moves: {state.owner} holds it, for {left(state.lease_seconds)} without renewal"
    return withheld(state) or waiting(state)


def withheld(state: ThreadState) -> str | None:
    """What keeps it from being bound, if anything."""
    if state.flaw:
        return f"thread {state.thread} is in quarantine: {state.flaw}; `sharded-queue check --repair` puts it right"
    if state.is_handler_paused:
        return f"thread {state.thread} waits: its handler is paused; `sharded-queue resume` lets it go on"
    if state.blocked_seconds == inf:
        return f"thread {state.thread} is paused; `sharded-queue resume` lets it go on"
    if state.waits_for is not None:
        return f"thread {state.thread} waits for {old_threads(state.waits_for)}"
    if state.blocked_seconds is not None:
        return f"thread {state.thread} backs off after a failure: the next try is due in {left(state.blocked_seconds)}"
    return None


def waiting(state: ThreadState) -> str:
    before = f"{state.ahead} threads are before it" if state.ahead else "it is the next to be bound"
    return f"thread {state.thread} waits for a worker: {before}; no worker that knows its handler has room"


def old_threads(names: Sequence[str]) -> str:
    listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    if not names:
        return "the next look of a worker: the threads of the old layout that it may share keys with are drained"
    return f"threads {listed} of the old layout: they may have earlier requests of its keys"


def described(tube: TubeState) -> str:
    words = f"  priority {tube.priority}: {tube.depth} requests, the oldest waits {duration(tube.lag_seconds)}"
    if tube.attempts:
        words += f"; it failed {tube.attempts} times, last with {tube.error}"
    if tube.crashes:
        words += f"; {tube.crashes} workers died with it in their hands"
    return words


def left(seconds: float | None) -> str:
    return duration(max(0.0, seconds or 0.0))
