"""Queues as tables for people: what was observed, aligned."""

from collections.abc import Sequence
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from sharded_queue.printable import printable
from sharded_queue.storage import ShardState, TubeLag


def table(*columns: str, left: int = 1, title: str | None = None) -> Table:
    """A table whose first *left* columns are words, and whose others are numbers."""
    made = Table(
        box=SIMPLE_HEAD, pad_edge=False, show_edge=False, title=title, title_justify="left", title_style="bold"
    )
    for place, column in enumerate(columns):
        made.add_column(column, justify="left" if place < left else "right", overflow="fold", no_wrap=place >= left)
    return made


def handlers_table(states: Sequence[ShardState]) -> Table:
    """A row a handler, its shards summed."""
    made = table("handler", "threads", "ready", "bound", "blocked", "depth", "lag", "settled", "dead")
    for handler, group in groupby(states, key=lambda state: state.shard.handler):
        shards = list(group)
        counts = [count(sum(getattr(s, name) for s in shards)) for name in ("threads", "ready", "bound", "blocked")]
        depth, settled, dead = (sum(getattr(s, name) for s in shards) for name in ("depth", "settled", "dead"))
        lag = duration(max(s.lag_seconds for s in shards))
        buried = Text(count(dead), style="red" if dead else "")
        made.add_row(Text(printable(handler)), *counts, count(depth), lag, count(settled), buried)
    return made


def deserted(states: Sequence[ShardState]) -> list[str]:
    """A sentence for each shard whose requests nobody serves."""
    return [
        f"nobody serves {state.shard.tag}: {count(state.depth)} requests wait, and {looked(state.looked_seconds)}"
        for state in states
        if state.is_deserted
    ]


def looked(seconds: float | None) -> str:
    if seconds is None:
        return "no worker has ever asked for them"
    return f"no worker has asked for them for {duration(seconds)}"


def tubes_table(states: Sequence[ShardState], worst: int) -> Table:
    """The tubes with the oldest requests, and who works on them."""
    made = table("handler", "thread", "priority", "depth", "lag", "held by", left=2)
    made.columns[-1].justify = "left"
    for state, tube in oldest(states)[:worst]:
        holder = holders(state).get(tube.thread, "")
        made.add_row(
            Text(printable(state.shard.handler)),
            Text(printable(tube.thread)),
            str(tube.priority),
            count(tube.depth),
            duration(tube.lag_seconds),
            Text(printable(holder)),
        )
    return made


def oldest(states: Sequence[ShardState]) -> list[tuple[ShardState, TubeLag]]:
    listed = [(state, tube) for state in states for tube in state.oldest]
    return sorted(listed, key=lambda pair: -pair[1].lag_seconds)


def holders(state: ShardState) -> dict[str, str]:
    """Worker by thread; an owner is written `worker/incarnation`."""
    return {hold.thread: hold.owner.partition("/")[0] for hold in state.held}


def count(number: int) -> str:
    return f"{number:,}"


def duration(seconds: float) -> str:
    """Three digits that matter: 0.42 s, 12.3 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
