"""`sharded-queue lag`: which request of each handler waits longest, since when, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from sharded_queue.admin import answers
from sharded_queue.admin.handler_state import handler_states
from sharded_queue.admin.handlers import HandlerSelection
from sharded_queue.admin.words import count, duration, judge_thread, no_requests
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import about_handlers
from sharded_queue.cli.output import observed
from sharded_queue.cli.tables import Fitted, name, number, text, word
from sharded_queue.cli.watch import Shape, show
from sharded_queue.printable import instant, printable
from sharded_queue.state import ShardState, ThreadState, TubeLag
from sharded_queue.tube import Shard


@dataclass(frozen=True, slots=True)
class Laggard:
    """The tube of a handler whose oldest request waits longest, if any, and why."""

    handler: str
    is_paused: bool = False
    tube: TubeLag | None = None
    thread: ThreadState | None = None
    reason: str = ""
    at: datetime = datetime.min

    @property
    def since(self) -> datetime | None:
        return self.at - timedelta(seconds=self.tube.lag_seconds) if self.tube else None


@click.command()
@about_handlers
@click.option("--watch", is_flag=True, help="Refresh every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per refresh.")
def lag(sought: HandlerSelection, watch: bool, as_json: bool) -> None:
    """The longest wait of each handler: where, since when, and why."""

    async def ask(storage: RedisStorage) -> list[Laggard]:
        return await laggards(storage, await sought.shards(storage))

    show(Shape(ask, view, facts), watch=watch, as_json=as_json)


async def laggards(storage: RedisStorage, shards: Sequence[Shard]) -> list[Laggard]:
    """The longest wait first."""
    worst: dict[str, ShardState] = {}
    for state in await observed(storage, shards, 1):
        handler = state.shard.handler
        worst[handler] = max(state, worst.get(handler, state), key=lambda each: each.lag_seconds)
    found = [await laggard(storage, state) for state in worst.values()]
    return sorted(found, key=lambda each: -each.tube.lag_seconds if each.tube else 0)


async def laggard(storage: RedisStorage, state: ShardState) -> Laggard:
    handler = state.shard.handler
    if not state.oldest:
        return Laggard(handler, state.is_paused, reason=no_requests(handler_states([state])[0]))
    tube = state.oldest[0]
    thread = await storage.explain(state.shard, tube.thread)
    return Laggard(handler, state.is_paused, tube, thread, judge_thread(thread).text, datetime.now(UTC))


def view(found: Sequence[Laggard]) -> RenderableType:
    return Reasons(found)


class Reasons:
    """A table with the reasons beside the numbers where there is room, and below them otherwise."""

    def __init__(self, found: Sequence[Laggard]) -> None:
        self.found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [name("handler"), name("thread"), number("priority"), number("depth"), number("lag"), word("since")]
        rows = [_cells(each) for each in self.found]
        whole = Fitted(
            [*columns, text("why")], [[*row, each.reason] for row, each in zip(rows, self.found, strict=True)]
        )
        if whole.width <= options.max_width:
            yield whole
            return
        yield Fitted(columns, rows)
        for each in self.found:
            yield Text(printable(f"{each.handler}: {each.reason}"))


def _cells(each: Laggard) -> list[str | Text]:
    if not each.tube or not each.since:
        return [each.handler, "", "", "", "", ""]
    tube = each.tube
    since = instant(each.since.timestamp() * 1000)
    return [each.handler, tube.thread, str(tube.priority), count(tube.depth), duration(tube.lag_seconds), since]


def facts(found: Sequence[Laggard]) -> list[answers.Lag]:
    return [
        answers.Lag(
            handler=each.handler,
            is_paused=each.is_paused,
            why=each.reason,
            **(each.tube._asdict() if each.tube else {}),
            since_at=answers.at(each.since.timestamp() * 1000) if each.since else None,
            held_by=each.thread.owner if each.thread and each.thread.is_held else None,
        )
        for each in found
    ]
