"""The report at the end of a session: what happened, and whether that is what was promised."""

from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sharded_queue.admin.words import count, duration
from sharded_queue_operator.local.order_check import Verdict

GOOD, BAD, OPEN = "green", "bold red", "yellow"


class Outcome(NamedTuple):
    """
    What happened since the session began, by the counters of Redis. *verdict* is the check of the journal, None when
    there is no journal. *drain_seconds* is None when not all requests were handled.
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
        """Requests that were neither handled, nor wait, nor are in the dead letters."""
        return 0 if self.verdict is None else max(0, self.verdict.missing - self.waiting - self.dead)

    @property
    def is_as_promised(self) -> bool:
        return self.verdict is None or not (self.lost or self.verdict.unregistered or self.verdict.breach)


def print_report(outcome: Outcome, console: Console) -> None:
    rows = Table.grid(padding=(0, 2))
    for word, text in (
        ("handled", _handled(outcome)),
        ("order", _order(outcome.verdict)),
        ("duplicates", _duplicates(outcome.verdict)),
        ("lost", _lost(outcome)),
        ("drained in", _drain_time(outcome)),
        ("workers", Text(f"at most {outcome.workers}, {outcome.worker_seconds:.1f} worker-seconds in all")),
    ):
        rows.add_row(word, text)
    console.print(Text(f"\n{outcome.name}", style="bold"))
    console.print(rows)


def _handled(outcome: Outcome) -> Text:
    text = (
        f"{count(outcome.handled)} requests; {count(outcome.waiting)} wait, {count(outcome.dead)} in the dead letters"
    )
    return Text(text, style=OPEN if outcome.waiting or outcome.dead else GOOD)


def _order(verdict: Verdict | None) -> Text:
    if verdict is None:
        return Text("not checked: no handler kept a journal", style=OPEN)
    if verdict.breach:
        return Text(f"BROKEN: {verdict.breach}", style=BAD)
    tubes = f"{count(verdict.tubes)} tubes, by a journal of {count(verdict.handled)} requests"
    return Text(f"kept in all {tubes}", style=GOOD)


def _duplicates(verdict: Verdict | None) -> Text:
    if verdict is None:
        return Text("not checked", style=OPEN)
    return Text(count(verdict.duplicates), style=OPEN if verdict.duplicates else GOOD)


def _lost(outcome: Outcome) -> Text:
    if outcome.verdict is None:
        return Text("not checked", style=OPEN)
    unregistered = outcome.verdict.unregistered
    besides = f"; {unregistered} handled that were never registered" if unregistered else ""
    return Text(f"{count(outcome.lost)}{besides}", style=BAD if outcome.lost or unregistered else GOOD)


def _drain_time(outcome: Outcome) -> Text:
    if outcome.drain_seconds is not None:
        return Text(duration(outcome.drain_seconds))
    return Text("not yet" if outcome.waiting else "not measured: the run had no end of its own")
