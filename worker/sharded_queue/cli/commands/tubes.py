"""`sharded-queue tubes`: how much waits, and where."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import click
from rich.console import Group, RenderableType
from rich.text import Text

from sharded_queue.admin import answers
from sharded_queue.admin.handler_state import handler_states
from sharded_queue.admin.handlers import HandlerSelection
from sharded_queue.admin.words import pause_sentences, unserved
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import about_handlers
from sharded_queue.cli.output import observed
from sharded_queue.cli.tables import handlers_table, holders, tubes_table
from sharded_queue.cli.watch import Shape, show
from sharded_queue.predecessor import hint
from sharded_queue.printable import printable
from sharded_queue.state import HELD_STATES, Progress, ShardState
from sharded_queue.tube import Shard


@click.command(short_help="How many requests wait, where, and how long.")
@about_handlers
@click.option("--worst", type=click.IntRange(0, 1000), default=10, show_default=True, help="Tubes to list.")
@click.option("--watch", is_flag=True, help="Refresh every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per refresh.")
def tubes(sought: HandlerSelection, worst: int, watch: bool, as_json: bool) -> None:
    """Show threads, depth and lag of handlers, and the tubes that wait longest."""

    is_hinted = False

    async def ask(storage: RedisStorage) -> Seen:
        nonlocal is_hinted
        states = await observed(storage, await sought.shards(storage), worst)
        if not is_hinted and (sentence := await hint(storage)):
            click.echo(printable(sentence), err=True)
        is_hinted = True
        return Seen(states, {state.shard: await reports_of(storage, state) for state in states})

    def told(seen: Seen) -> list[answers.Shard]:
        return [facts(state, seen.reports[state.shard], time.time() * 1000) for state in seen.states]

    shape = Shape(ask, lambda seen: view(seen, worst), told)
    show(shape, watch=watch, as_json=as_json)


class Seen(NamedTuple):
    """Shards, and what the handlers reported that hold threads of the listed tubes, by thread."""

    states: Sequence[ShardState]
    reports: Mapping[Shard, Mapping[str, Progress]]


async def reports_of(storage: RedisStorage, state: ShardState) -> Mapping[str, Progress]:
    threads = dict.fromkeys(tube.thread for tube in state.oldest if tube.state in HELD_STATES)
    return await storage.progress(state.shard, list(threads))


AS_OBSERVED = (
    *("depth", "delayed", "schedules", "threads", "ready", "bound", "blocked", "parked", "is_paused", "lag_seconds"),
    *("registered", "duplicates", "settled", "polled_seconds", "is_unconsumed", "quarantined"),
)
"""The fields of `tubes --json` that are those of `ShardState`."""


def view(seen: Seen, worst: int) -> RenderableType:
    states = seen.states
    notes = [Text(printable(sentence), style="yellow") for sentence in pause_sentences(states)]
    unconsumed = [handler for handler in handler_states(states) if handler.needs_workers]
    warnings = [Text(printable(unserved(handler).text), style="red") for handler in unconsumed]
    if not worst or not any(state.oldest for state in states):
        return Group(handlers_table(states), *notes, *warnings)
    return Group(handlers_table(states), Text(), tubes_table(states, worst, seen.reports), *notes, *warnings)


def facts(state: ShardState, reports: Mapping[str, Progress], now_ms: float) -> answers.Shard:
    held = holders(state)
    return answers.Shard(
        handler=state.shard.handler,
        shard=state.shard.number,
        paused_threads=state.paused,
        dead=state.letters,
        dead_ever=state.dead,
        tubes=[
            answers.Tube(
                **tube._asdict(),
                oldest_at=answers.at(now_ms - tube.lag_seconds * 1000),
                held_by=held.get(tube.thread),
                progress=answers.progress(reports.get(tube.thread)),
            )
            for tube in state.oldest
        ],
        **{name: getattr(state, name) for name in AS_OBSERVED},
    )
