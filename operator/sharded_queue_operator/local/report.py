"""What a run came to, and whether that is what was promised."""

from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sharded_queue.cli.tables import count, duration
from sharded_queue_operator.local.order_check import Verdict

GOOD, BAD, OPEN = "green", "bold red", "yellow"


class Outcome(NamedTuple):
    """
    What happened since the run began, by the counters of Redis; *verdict* is the check of the journals, None when
    nobody kept one. *drain_seconds* is None when not all was handled.
    """

    name: str
    handled: int
    dead: int
    waiting: int
    drain_seconds: float | None
    workers: int
    worker_seconds: float
    verdict: Verdict | None

    @property
    def lost(self) -> int:
        """Requests that are in no place where they could be."""
        return 0 if self.verdict is None else max(0, self.verdict.missing - self.waiting - self.dead)

    @property
    def is_as_promised(self) -> bool:
        return self.verdict is None or not (self.lost or self.verdict.strange or self.verdict.breach)


def printed(outcome: Outcome, console: Console) -> None:
    rows = Table.grid(padding=(0, 2))
    for word, text in (
        ("handled", handled(outcome)),
        ("order", order(outcome)),
        ("duplicates", duplicates(outcome)),
        ("lost", losses(outcome)),
        ("drained in", drained(outcome)),
        ("workers", Text(f"at most {outcome.workers}, {outcome.worker_seconds:.1f} worker-seconds in all")),
    ):
        rows.add_row(word, text)
    console.print(Text(f"\n{outcome.name}", style="bold"))
    console.print(rows)


def drained(outcome: Outcome) -> Text:
    if outcome.drain_seconds is not None:
        return Text(duration(outcome.drain_seconds))
    return Text("not yet" if outcome.waiting else "not measured: the run had no end of its own")


def handled(outcome: Outcome) -> Text:
    text = (
        f"{count(outcome.handled)} requests; {count(outcome.waiting)} wait, {count(outcome.dead)} in the dead letters"
    )
    return Text(text, style=OPEN if outcome.waiting or outcome.dead else GOOD)


def order(outcome: Outcome) -> Text:
    verdict = outcome.verdict
    if verdict is None:
        return Text("not checked: no handler kept a journal", style=OPEN)
    if verdict.breach:
        return Text(f"BROKEN: {verdict.breach}", style=BAD)
    tubes = f"{count(verdict.tubes)} tubes, by a journal of {count(verdict.handled)} requests"
    return Text(f"kept in all {tubes}", style=GOOD)


def duplicates(outcome: Outcome) -> Text:
    if outcome.verdict is None:
        return Text("not checked", style=OPEN)
    return Text(count(outcome.verdict.duplicates), style=OPEN if outcome.verdict.duplicates else GOOD)


def losses(outcome: Outcome) -> Text:
    if outcome.verdict is None:
        return Text("not checked", style=OPEN)
    strange = f"; {outcome.verdict.strange} handled that nobody registered" if outcome.verdict.strange else ""
    return Text(f"{count(outcome.lost)}{strange}", style=BAD if outcome.lost or strange else GOOD)
