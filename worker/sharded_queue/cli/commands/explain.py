"""`sharded-queue explain`: why a thread does not move."""

from collections.abc import Sequence
from math import inf

import click

from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli import answers
from sharded_queue.cli.arguments import NAME, Named, module_options, must_have, named
from sharded_queue.cli.output import emit, read_about
from sharded_queue.cli.tables import duration, progress_words
from sharded_queue.printable import be, counted, instant, printable
from sharded_queue.state import UNCONSUMED_SECONDS, PastFailure, Progress, ThreadState, TubeState


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
        printable(sentence(state)),
        *reported(state.progress),
        *map(described, state.tubes),
        *map(recalled, state.failures),
    ]
    emit(as_json, answer(handler, state), *said)


async def explained(storage: RedisStorage, handler: Named, thread: str) -> ThreadState:
    await must_have(storage, handler, thread)
    return await storage.explain(handler.shard_of(thread), thread)


def answer(handler: str, state: ThreadState) -> answers.Thread:
    is_paused = state.blocked_seconds == inf
    return answers.Thread(
        handler=handler,
        thread=state.thread,
        moves=bool(state.tubes) and state.is_held,
        why=sentence(state),
        owner=state.owner,
        lease_seconds=state.lease_seconds,
        in_hand=state.in_hand,
        busy_seconds=state.busy_seconds,
        is_handler_paused=state.is_handler_paused,
        is_paused=is_paused,
        blocked_seconds=None if is_paused else state.blocked_seconds,
        ahead=state.ahead,
        waits_for=state.waits_for,
        polled_seconds=state.polled_seconds,
        flaw=state.flaw,
        act=state.act,
        tubes=[answers.ThreadTube(**tube._asdict()) for tube in state.tubes],
        progress=answers.progress(state.progress),
        failures=[past(failure) for failure in state.failures],
    )


def sentence(state: ThreadState) -> str:
    """Why the thread does not move, or that it does."""
    if not state.tubes and not state.flaw:
        held = f"; {state.owner} holds it drained for a moment" if state.is_held else ""
        return f"thread {state.thread} has no requests{held}"
    if state.is_held:
        return f"thread {state.thread} moves: {state.owner} holds it{at_work(state)}; {renewal(state)}"
    return withheld(state) or waiting(state)


def at_work(state: ThreadState) -> str:
    """What the holder of the thread does."""
    if not state.in_hand:
        return ""
    hand = f" and has {counted(state.in_hand, 'request')} in its handler"
    return f"{hand}, busy without a break for {duration(state.busy_seconds)}" if state.busy_seconds else hand


def renewal(state: ThreadState) -> str:
    return f"its lease ends in {left(state.lease_seconds)} unless it is renewed"


def withheld(state: ThreadState) -> str | None:
    """What keeps the thread from being bound, if anything."""
    if state.flaw:
        return f"thread {state.thread} is in quarantine: {state.flaw}; `sharded-queue check --repair` repairs it"
    if state.is_handler_paused:
        return f"thread {state.thread} waits: its handler is paused; `sharded-queue resume` resumes it"
    if state.blocked_seconds == inf:
        again = f": {state.act}; if that was cut off, ask for it again, or" if state.act else ";"
        return f"thread {state.thread} is paused{again} `sharded-queue resume` resumes it"
    if state.waits_for is not None:
        return f"thread {state.thread} waits for {old_threads(state.waits_for)}"
    if state.blocked_seconds is not None and state.blocked_seconds > 0:
        return f"thread {state.thread} backs off after a failure: the next try is due in {left(state.blocked_seconds)}"
    return None


def waiting(state: ThreadState) -> str:
    if state.owner:
        ended = f"the lease of {state.owner} ended {duration(-(state.lease_seconds or 0.0))} ago without renewal"
        return f"thread {state.thread} waits: {ended}, and {service(state)}"
    before = (
        f"{counted(state.ahead, 'thread')} {be(state.ahead)} before it" if state.ahead else "it is the next to be bound"
    )
    return f"thread {state.thread} waits for a worker: {before}; {service(state)}"


def service(state: ThreadState) -> str:
    """Whether a worker will bind it: a worker with room polls for threads every few seconds."""
    if state.polled_seconds is not None and state.polled_seconds < UNCONSUMED_SECONDS:
        asked = f"a worker polled for threads {duration(state.polled_seconds)} ago"
        return f"{asked} and binds it at its next poll" if state.owner else f"{asked}, and none has room now"
    ever = "ever polled" if state.polled_seconds is None else f"polled for {duration(state.polled_seconds)}"
    if state.bound:
        return f"all workers are busy with {counted(state.bound, 'other thread')}: none has {ever} for another one"
    return f"no worker serves its handler: none has {ever} for its threads"


def old_threads(names: Sequence[str]) -> str:
    listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    if not names:
        return "the next poll of a worker: the threads of the old layout that it may share keys with are drained"
    return f"threads {listed} of the old layout: they may have earlier requests of its keys"


def described(tube: TubeState) -> str:
    words = (
        f"  priority {tube.priority}: {counted(tube.depth, 'request')}, the oldest waits {duration(tube.lag_seconds)}"
    )
    if tube.attempts:
        words += f"; it failed {counted(tube.attempts, 'time')}, last with {printable(tube.error, 500)}"
    if tube.crashes:
        words += f"; {counted(tube.crashes, 'worker')} died while handling it"
    return words


def reported(progress: Progress | None) -> list[str]:
    if progress is None:
        return []
    said = printable(progress_words(progress))
    return [f"  its handler reported {duration(progress.reported_seconds)} ago: {said}"]


def past(failure: PastFailure) -> answers.PastFailure:
    fields = failure._asdict() | {"failed_at": answers.at(failure.failed_ms)}
    del fields["failed_ms"]
    return answers.PastFailure(**fields)


def recalled(failure: PastFailure) -> str:
    """A failure, with the line of the traceback that names the place."""
    lines = [line.strip() for line in failure.traceback.split("\n") if line.lstrip().startswith("File ")]
    where = f" ({printable(lines[-1], 200)})" if lines else ""
    which = f"request {failure.sequence} of priority {failure.priority}, attempt {failure.attempt}"
    return f"  {instant(failure.failed_ms)}: {which} failed: {printable(failure.error, 500)}{where}"


def left(seconds: float | None) -> str:
    return duration(max(0.0, seconds or 0.0))
