"""`sharded-queue threads`: how much waits, and which threads need a look."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, get_args

import click
from rich.console import Group, RenderableType
from rich.text import Text

from sharded_queue.admin import answers
from sharded_queue.admin.handler_state import handler_states
from sharded_queue.admin.handlers import HandlerSelection
from sharded_queue.admin.words import FAILED, LISTED, pause_sentences, unserved, urgency
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import about_handlers
from sharded_queue.cli.output import observed
from sharded_queue.cli.tables import handlers_table, holders, tubes_table
from sharded_queue.cli.watch import Shape, show
from sharded_queue.predecessor import hint
from sharded_queue.printable import printable
from sharded_queue.state import HELD_STATES, Progress, ShardState, State
from sharded_queue.tube import Shard

MOST = 1000
"""Tubes of each shard that are looked through, and that may be listed: 5 ms of Redis."""


@click.command(short_help="How much waits, and which threads need a look.")
@about_handlers
@click.option("--worst", type=click.IntRange(0, MOST), default=10, show_default=True, help="Tubes to list.")
@click.option("--state", "states", type=click.Choice(get_args(State)), multiple=True, help="List tubes in this state.")
@click.option("--failing", is_flag=True, help="As --state failing --state blocked: what failed and is tried again.")
@click.option("--watch", is_flag=True, help="Refresh every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per refresh.")
def threads(
    sought: HandlerSelection, worst: int, states: tuple[State, ...], failing: bool, watch: bool, as_json: bool
) -> None:
    """
    Show how many threads and requests of handlers wait, and the worst of them: those first that cannot be read, fail,
    or wait after a failure, then those that wait longest, and last those that are paused.
    """
    sifter, is_hinted = Sifter(worst, (*states, *(FAILED if failing else ()))), False

    async def ask(storage: RedisStorage) -> Seen:
        nonlocal is_hinted
        seen = await observed(storage, await sought.shards(storage), sifter.looked_at)
        if not is_hinted and (sentence := await hint(storage)):
            click.echo(printable(sentence), err=True)
        is_hinted = True
        listed = [sifter.sift(state) for state in seen]
        return Seen(listed, {state.shard: await reports_of(storage, state) for state in listed})

    def told(seen: Seen) -> list[answers.Shard]:
        return [facts(state, seen.reports[state.shard], time.time() * 1000) for state in seen.states]

    shape = Shape(ask, lambda seen: view(seen, sifter), told)
    show(shape, watch=watch, as_json=as_json)


class Sifter(NamedTuple):
    """The *worst* tubes to list, of those in some *states*; of any, if none is named."""

    worst: int
    states: Sequence[State]

    @property
    def looked_at(self) -> int:
        """Of each shard, the tubes that wait longest."""
        return MOST if self.states else max(self.worst, LISTED)

    def sift(self, state: ShardState) -> ShardState:
        found = [tube for tube in state.oldest if not self.states or tube.state in self.states]
        return replace(state, oldest=sorted(found, key=urgency)[: self.worst])

    @property
    def nothing(self) -> str:
        """What to say where none is found."""
        named = " or ".join(dict.fromkeys(self.states))
        return f"no thread is {named}, of the {MOST:,} tubes of each shard that wait longest" if named else ""


class Seen(NamedTuple):
    """Shards, and what the handlers reported that hold threads of the listed tubes, by thread."""

    states: Sequence[ShardState]
    reports: Mapping[Shard, Mapping[str, Progress]]


async def reports_of(storage: RedisStorage, state: ShardState) -> Mapping[str, Progress]:
    threads = dict.fromkeys(tube.thread for tube in state.oldest if tube.state in HELD_STATES)
    return await storage.progress(state.shard, list(threads))


AS_OBSERVED = (
    *("depth", "delayed", "schedules", "threads", "ready", "bound", "blocked", "parked", "is_paused", "lag_seconds"),
    *("registered", "duplicates", "settled", "polled_seconds", "is_unconsumed", "quarantined", "exhausted"),
)
"""The fields of `threads --json` that are those of `ShardState`."""


def view(seen: Seen, sifter: Sifter) -> RenderableType:
    states = seen.states
    notes = [Text(printable(sentence), style="yellow") for sentence in pause_sentences(states)]
    unconsumed = [handler for handler in handler_states(states) if handler.needs_workers]
    warnings = [Text(printable(unserved(handler).text), style="red") for handler in unconsumed]
    listed: list[RenderableType] = []
    if any(state.oldest for state in states):
        listed = [Text(), tubes_table(states, sifter.worst, seen.reports)]
    elif sifter.nothing:
        listed = [Text(), Text(sifter.nothing)]
    return Group(handlers_table(states), *listed, *notes, *warnings)


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
