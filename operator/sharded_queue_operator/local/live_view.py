"""What a session shows while it runs: a live table on a terminal, elsewhere a line for each change."""

from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sharded_queue.admin.words import count, duration
from sharded_queue.cli.tables import handlers_table, tubes_table
from sharded_queue.printable import printable
from sharded_queue_operator.local.workers import LocalWorkers, WorkerProcess
from sharded_queue_operator.scaling.decide import Decision
from sharded_queue_operator.scaling.observation import Observation

MOST_TUBES = 8
"""Tubes in the table, which then fits a terminal of 24 lines."""

QUIET_SECONDS = 5.0
"""Without a terminal, a line comes at least this often, even if nothing changes."""


class Frame(NamedTuple):
    """What one step observed and decided, and the workers at that time."""

    name: str
    seconds: float
    seen: Observation
    decision: Decision
    workers: LocalWorkers
    handled: int


class View(Protocol):
    def start(self) -> None: ...

    def show(self, frame: Frame) -> None: ...

    def say(self, text: str) -> None: ...

    def stop(self) -> None: ...


def view_on(console: Console) -> View:
    return LiveTable(console) if console.is_terminal else Lines(console)


class LiveTable:
    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)

    def start(self) -> None:
        self._live.start()

    def show(self, frame: Frame) -> None:
        self._live.update(_layout(frame), refresh=True)

    def say(self, text: str) -> None:
        self._live.console.print(Text(text))

    def stop(self) -> None:
        self._live.stop()


class Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: tuple[int, str] | None = None
        self._shown_at = float("-inf")

    def start(self) -> None: ...

    def show(self, frame: Frame) -> None:
        now, state = monotonic(), (frame.workers.wanted, frame.decision.reason)
        if state != self._shown or now >= self._shown_at + QUIET_SECONDS:
            self._shown, self._shown_at = state, now
            self._console.print(Text(_line(frame)), soft_wrap=True)

    def say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def stop(self) -> None: ...


def _line(frame: Frame) -> str:
    seen, decision = frame.seen, frame.decision
    return (
        f"{frame.seconds:6.1f} s  depth {count(seen.depth)}  lag {duration(seen.lag_seconds)}"
        f"  threads {seen.threads} ({seen.bound} bound)  handled {count(frame.handled)}"
        f"  workers {frame.workers.wanted}  {decision.reason}: {printable(decision.message)}"
    )


def _layout(frame: Frame) -> RenderableType:
    title = Text.assemble((frame.name, "bold"), f"  {duration(frame.seconds)}  handled {count(frame.handled)}")
    parts: list[RenderableType] = [title, Text(), *_queue(frame.seen), Text(), _decision(frame)]
    return Padding(Group(*parts), (1, 0, 0, 0))


def _queue(seen: Observation) -> Sequence[RenderableType]:
    if not any(state.oldest for state in seen.shards):
        return [handlers_table(seen.shards)]
    return [handlers_table(seen.shards), Text(), tubes_table(seen.shards, MOST_TUBES)]


def _decision(frame: Frame) -> Table:
    reason = Text(frame.decision.reason, style="yellow" if frame.decision.doubt else "green")
    rows = Table.grid(padding=(0, 2))
    rows.add_row("workers", _workers(frame.workers))
    rows.add_row("decision", Text.assemble(reason, "  ", printable(frame.decision.message)))
    return rows


def _workers(workers: LocalWorkers) -> Text:
    """A circle for each worker, hollow for one that is leaving."""
    signs = "".join("◯" if worker.is_leaving else "●" for worker in _ordered(workers.running))
    return Text.assemble((signs or "none", "cyan"), f"  {len(workers.staying)} of {workers.wanted} wanted")


def _ordered(workers: Sequence[WorkerProcess]) -> list[WorkerProcess]:
    return sorted(workers, key=lambda worker: (worker.is_leaving, worker.started_at))
