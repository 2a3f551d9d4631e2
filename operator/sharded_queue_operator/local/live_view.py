"""What `sharded-queue run` shows: a live table on a terminal, a line a change where there is none."""

from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sharded_queue.cli.tables import count, duration, handlers_table, tubes_table
from sharded_queue.printable import printable
from sharded_queue_operator.local.processes import Crew, Member
from sharded_queue_operator.scaling.decide import Decision
from sharded_queue_operator.scaling.observation import Observation

WORST = 8
"""Tubes that are listed: the table fits a terminal of 24 lines."""

QUIET_SECONDS = 5.0
"""Without a terminal, a line comes so often even if nothing changes."""


class Frame(NamedTuple):
    """One look: what was seen, what was decided, and who works."""

    name: str
    seconds: float
    seen: Observation
    decision: Decision
    crew: Crew
    handled: int


class View(Protocol):
    def show(self, frame: Frame) -> None: ...

    def say(self, text: str) -> None: ...

    def close(self) -> None: ...


def view(console: Console) -> View:
    return LiveTable(console) if console.is_terminal else Lines(console)


class LiveTable:
    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = Live(console=console, auto_refresh=False)
        self.live.start()

    def show(self, frame: Frame) -> None:
        self.live.update(drawn(frame), refresh=True)

    def say(self, text: str) -> None:
        self.live.console.print(Text(text))

    def close(self) -> None:
        self.live.stop()


class Lines:
    def __init__(self, console: Console) -> None:
        self.console = console
        self.shown: tuple[int, str] | None = None
        self.shown_at = float("-inf")

    def show(self, frame: Frame) -> None:
        now, state = monotonic(), (frame.crew.wanted, frame.decision.reason)
        if state != self.shown or now >= self.shown_at + QUIET_SECONDS:
            self.shown, self.shown_at = state, now
            self.console.print(Text(line(frame)), soft_wrap=True)

    def say(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def close(self) -> None: ...


def line(frame: Frame) -> str:
    seen, decision = frame.seen, frame.decision
    return (
        f"{frame.seconds:6.1f} s  depth {count(seen.depth)}  lag {duration(seen.lag_seconds)}"
        f"  threads {seen.threads} ({seen.bound} bound)  handled {count(frame.handled)}"
        f"  workers {frame.crew.wanted}  {decision.reason}: {printable(decision.message)}"
    )


def drawn(frame: Frame) -> RenderableType:
    title = Text.assemble((frame.name, "bold"), f"  {duration(frame.seconds)}  handled {count(frame.handled)}")
    parts: list[RenderableType] = [title, Text(), *queues(frame.seen), Text(), facts(frame)]
    return Padding(Group(*parts), (1, 0, 0, 0))


def queues(seen: Observation) -> Sequence[RenderableType]:
    if not any(state.oldest for state in seen.shards):
        return [handlers_table(seen.shards)]
    return [handlers_table(seen.shards), Text(), tubes_table(seen.shards, WORST)]


def facts(frame: Frame) -> Table:
    reason = Text(frame.decision.reason, style="yellow" if frame.decision.doubt else "green")
    rows = Table.grid(padding=(0, 2))
    rows.add_row("workers", crew_text(frame.crew))
    rows.add_row("decision", Text.assemble(reason, "  ", printable(frame.decision.message)))
    return rows


def crew_text(crew: Crew) -> Text:
    """A sign a worker, the leaving ones hollow."""
    signs = "".join("◯" if member.is_leaving else "●" for member in ordered(crew.running))
    return Text.assemble((signs or "none", "cyan"), f"  {len(crew.staying)} of {crew.wanted} wanted")


def ordered(members: Sequence[Member]) -> list[Member]:
    return sorted(members, key=lambda member: (member.is_leaving, member.started_at))
