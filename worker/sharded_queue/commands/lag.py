"""`sharded-queue lag`: which request of each handler waits longest, since when, and what for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click
from rich.console import RenderableType
from rich.text import Text

from sharded_queue.commands.explain import sentence
from sharded_queue.commands.naming import Sought, everything_option, module_options
from sharded_queue.commands.watching import Shape, show
from sharded_queue.printable import printable
from sharded_queue.storage import ShardState, ThreadState, TubeLag
from sharded_queue.storages.redis import RedisStorage
from sharded_queue.tube import Shard
from sharded_queue.views import count, duration, looked, table


@dataclass(frozen=True, slots=True)
class Laggard:
    """The tube of a handler whose oldest request waits longest, if one waits, and what decides whether it moves."""

    handler: str
    tube: TubeLag | None = None
    thread: ThreadState | None = None
    reason: str = "no requests"
    at: datetime = datetime.min

    @property
    def since(self) -> datetime | None:
        return self.at - timedelta(seconds=self.tube.lag_seconds) if self.tube else None


@click.command()
@click.argument("handlers", nargs=-1, metavar="[HANDLER]...")
@module_options
@everything_option
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a look.")
def lag(
    handlers: tuple[str, ...],
    modules: tuple[str, ...],
    spread: int | None,
    everything: bool,
    watch: bool,
    as_json: bool,
) -> None:
    """The longest wait of each handler: where, since when, and why."""
    sought = Sought(handlers, modules, spread, everything)

    async def ask(storage: RedisStorage) -> list[Laggard]:
        return await laggards(storage, await sought.shards(storage))

    show(Shape(ask, view, facts), watch=watch, as_json=as_json)


async def laggards(storage: RedisStorage, shards: Sequence[Shard]) -> list[Laggard]:
    """The longest wait first."""
    worst: dict[str, ShardState] = {}
    for state in await storage.observe(shards, 1):
        handler = state.shard.handler
        worst[handler] = max(state, worst.get(handler, state), key=lambda each: each.lag_seconds)
    found = [await laggard(storage, state) for state in worst.values()]
    return sorted(found, key=lambda each: -each.tube.lag_seconds if each.tube else 0)


async def laggard(storage: RedisStorage, state: ShardState) -> Laggard:
    handler = state.shard.handler
    if not state.oldest:
        return Laggard(handler)
    tube = state.oldest[0]
    thread = await storage.explain(state.shard, tube.thread)
    return Laggard(handler, tube, thread, reason(state, thread), datetime.now(UTC))


def reason(state: ShardState, thread: ThreadState) -> str:
    if state.is_deserted and not state.is_paused and thread.blocked_seconds is None:
        return f"nobody serves it: {looked(state.looked_seconds)}"
    return sentence(thread)


def view(found: Sequence[Laggard]) -> RenderableType:
    made = table("handler", "lag", "since", "thread", "priority", "depth", "why")
    made.columns[-1].justify, made.columns[-1].no_wrap = "left", False
    for each in found:
        words = [Text(printable(each.handler)), *_numbers(each), Text(printable(each.reason))]
        made.add_row(*words)
    return made


def _numbers(each: Laggard) -> list[str | Text]:
    if not each.tube or not each.since:
        return ["", "", "", "", ""]
    thread, priority, depth, lag_seconds, _ = each.tube
    since = each.since.astimezone().isoformat(" ", "seconds")
    return [duration(lag_seconds), since, Text(printable(thread)), str(priority), count(depth)]


def facts(found: Sequence[Laggard]) -> list[dict[str, object]]:
    return [
        {
            "handler": each.handler,
            **(each.tube._asdict() if each.tube else {}),
            "since": each.since,
            "held_by": each.thread.owner if each.thread else None,
            "why": each.reason,
        }
        for each in found
    ]
