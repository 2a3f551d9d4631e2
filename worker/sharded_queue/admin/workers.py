"""Which workers serve which handlers, and what they hold."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sharded_queue.admin import answers
from sharded_queue.admin.words import Sentence, Tone, progress_words
from sharded_queue.lease import worker_of
from sharded_queue.printable import counted, printable
from sharded_queue.state import TOLD_SECONDS, Hold, Progress, ShardState, WorkerState
from sharded_queue.storage import Storage
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


async def known(storage: Storage, state: ShardState) -> Known:
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


def worker_json(each: Serving) -> answers.Worker:
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


def say_who_works(found: Sequence[Serving], threads: int, *, is_needed: bool) -> Sentence:
    """How many workers hold *threads* threads; *is_needed*: whether something waits for one."""
    heard = sum(bool(each.holds) or (each.told is not None and each.told.told_seconds < TOLD_SECONDS) for each in found)
    silent = len(found) - heard
    said = [f"{counted(heard, 'worker')} {'holds' if heard == 1 else 'hold'} {counted(threads, 'thread')}"] * bool(
        heard
    )
    said += [f"{counted(silent, 'worker')} {'has' if silent == 1 else 'have'} not been heard of lately"] * bool(silent)
    tone: Tone = "good" if heard else "bad" if is_needed else "idle"
    return Sentence("; ".join(said) or "No worker serves these handlers", tone, f"{heard} {silent}")


def reported(each: Serving) -> str:
    """What the handler of its longest work reported, with the thread."""
    hold, progress = each.longest or (None, None)
    return printable(f"{hold.thread}: {progress_words(progress)}") if hold and progress else ""
