"""Queues as tables for people, within the width of the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from sharded_queue.admin.words import count, duration, progress_words, urgency
from sharded_queue.printable import printable
from sharded_queue.state import Progress, ShardState
from sharded_queue.tube import Shard

GAP = 2
"""Columns between two columns of a table."""
LEAST_NAME, LEAST_TEXT = 8, 24
"""The least width of a name, and of a wrapped text."""


class Column(NamedTuple):
    """
    *is_name*: shortened in the middle where space is short. *is_text*: wrapped. *is_extra*: left out where the others
    would not fit beside it, the last of them first. Everything else is shown in full, words aligned left and numbers
    right.
    """

    title: str
    is_name: bool = False
    is_text: bool = False
    is_word: bool = False
    is_extra: bool = False

    @property
    def justify(self) -> str:
        return "left" if self.is_name or self.is_text or self.is_word else "right"


def name(title: str) -> Column:
    return Column(title, is_name=True)


def text(title: str) -> Column:
    return Column(title, is_text=True)


def word(title: str) -> Column:
    return Column(title, is_word=True)


def number(title: str) -> Column:
    return Column(title)


def extra(column: Column) -> Column:
    return column._replace(is_extra=True)


class Fitted:
    """A table that leaves out columns that are extra, and shortens names, until it fits the width of the terminal."""

    def __init__(
        self, columns: Sequence[Column], rows: Iterable[Sequence[str | Text]], title: str | None = None
    ) -> None:
        self.columns, self.title = columns, title
        self.rows = [[cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row] for row in rows]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self._shown(options.max_width)
        cap = self._cap(shown, options.max_width)
        made = Table(
            box=SIMPLE_HEAD,
            padding=(0, GAP - 1, 0, 0),
            pad_edge=False,
            show_edge=False,
            title=self.title,
            title_justify="left",
            title_style="bold",
        )
        for column in [self.columns[i] for i in shown]:
            made.add_column(column.title, justify=column.justify, overflow="fold", no_wrap=not column.is_text)  # type: ignore[arg-type]
        for row in self.rows:
            made.add_row(*[shortened(row[i], cap) if self.columns[i].is_name else row[i] for i in shown])
        yield made

    def _shown(self, width: int) -> list[int]:
        """The positions of the columns that fit, names and texts at their least width."""
        shown = list(range(len(self.columns)))
        extras = [i for i in shown if self.columns[i].is_extra]
        while extras and sum(map(self._least, shown)) + GAP * (len(shown) - 1) > width:
            shown.remove(extras.pop())
        return shown

    def _least(self, i: int) -> int:
        column = self.columns[i]
        return min(self._width(i), LEAST_NAME if column.is_name else LEAST_TEXT if column.is_text else self._width(i))

    @property
    def width(self) -> int:
        """The width at which nothing is shortened or wrapped."""
        return sum(map(self._width, range(len(self.columns)))) + GAP * (len(self.columns) - 1)

    def _cap(self, shown: Sequence[int], width: int) -> int:
        """The longest a name may be. A text gets the width it needs first, up to a few words."""
        names = [self._width(i) for i in shown if self.columns[i].is_name]
        left = width - GAP * (len(shown) - 1) - sum(self._least(i) for i in shown if not self.columns[i].is_name)
        cap = max(names, default=0)
        while cap > LEAST_NAME and sum(min(wide, cap) for wide in names) > left:
            cap -= 1
        return cap

    def _width(self, i: int) -> int:
        cells = [row[i].cell_len for row in self.rows]
        return max([cell_len(self.columns[i].title), *cells])


def shortened(name: Text, width: int) -> Text:
    """A name without its middle: names of one kind begin alike and often differ at the end."""
    if name.cell_len <= width:
        return name
    tail = (width - 1) // 2
    made = name[: width - 1 - tail]
    made.append("…")
    made.append_text(name[len(name) - tail :])
    return made


def handlers_table(states: Sequence[ShardState]) -> Fitted:
    """One row per handler, summed over its shards. Rare states have a column only where they occur."""
    rows = [(handler, list(shards)) for handler, shards in groupby(states, key=lambda state: state.shard.handler)]
    rare = [
        title
        for title in ("blocked", "exhausted", "parked", "delayed")
        if any(getattr(state, title) for state in states)
    ]
    shown = ("threads", "ready", "bound", *rare, "depth", "lag", "settled", "dead")
    return Fitted([name("handler"), *map(number, shown)], [_handler_row(*row, shown) for row in rows])


def _handler_row(handler: str, shards: Sequence[ShardState], shown: Sequence[str]) -> list[str | Text]:
    cells: list[str | Text] = [handler]
    for title in shown:
        if title == "lag":
            cells.append(duration(max(state.lag_seconds for state in shards)))
            continue
        total = sum(getattr(state, "letters" if title == "dead" else title) for state in shards)
        cells.append(Text(count(total), style="red" if title == "dead" and total else ""))
    return cells


NO_REPORTS: Mapping[Shard, Mapping[str, Progress]] = {}


def tubes_table(
    states: Sequence[ShardState], worst: int, reports: Mapping[Shard, Mapping[str, Progress]] = NO_REPORTS
) -> Fitted:
    """
    The *worst* of the listed tubes, and the state of their threads: which workers hold them, or why none does. Progress
    has a column only where a handler reports it.
    """
    columns = [name("handler"), name("thread"), number("priority"), number("depth"), number("lag"), word("state")]
    columns.append(name("held by"))
    if is_reported := any(reports.values()):
        columns.append(text("progress"))
    rows: list[list[str | Text]] = []
    listed = [(state, tube) for state in states for tube in state.oldest]
    for state, tube in sorted(listed, key=lambda pair: urgency(pair[1]))[:worst]:
        holder = holders(state).get(tube.thread, "")
        cells = (str(tube.priority), count(tube.depth), duration(tube.lag_seconds), tube.state, holder)
        report = reports.get(state.shard, {}).get(tube.thread)
        progress = [Text(printable(progress_words(report)) if report else "")] if is_reported else []
        rows.append([state.shard.handler, tube.thread, *cells, *progress])
    return Fitted(columns, rows)


def holders(state: ShardState) -> dict[str, str]:
    """Worker by thread, for leases that have not ended."""
    return {hold.thread: hold.worker for hold in state.held if hold.lease_seconds > 0}
