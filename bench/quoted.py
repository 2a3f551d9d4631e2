"""
Numbers that pages quote from `docs/benchmarks-in-depth.md`. A comment behind the number names it, as in
`9,986<!-- = one Redis, sparse -->`; `make bench` and `make growth` write such numbers anew.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from bench.environments import ROOT
from bench.figure import number

DOCS = ROOT / "docs"
PAGE = DOCS / "benchmarks-in-depth.md"
QUOTED = re.compile(r"([\d.,]*\d)(<!-- = ([\w, ]+) -->)")

CELLS = {
    "one Redis, deep": ("| 128 | 50 |", 2),
    "one Redis, sparse": ("| 1 | 50 |", 2),
    "one worker, deep": ("| handle, 1 thread: to bare LRANGE+LTRIM |", 5),
    "one worker, sparse": ("| 10,000 threads × 1 request: to one thread |", 5),
    "one producer, in bulk": ("| register in bulk, 1 thread: to bare RPUSH |", 5),
    "ms to wake, drained": ("| wake an idle worker for a drained thread: p50 to BLPOP |", 5),
    "ms to wake, new": ("| wake an idle worker for a new thread: p50 to BLPOP |", 5),
    "bytes a request": ("| Redis memory a request, 100 threads: to bare lists |", 5),
    "bytes a thread": ("| Redis memory of a waiting thread of one request |", 1),
    "commands of an idle worker": ("| commands a second of an idle worker |", 1),
    "s after kill": ("| kill -9 → its thread handled elsewhere |", 1),
}
"""How the row of a table begins, and the column of the cell that begins with the number."""


def numbers(page: str) -> dict[str, str]:
    """
    All that may be quoted, by name.

    Raises:
        ValueError: a table has no such row, or more than one.
    """
    found = {name: cell(page, *place) for name, place in CELLS.items()}
    for depth in ("deep", "sparse"):
        rate = float(found[f"one Redis, {depth}"].replace(",", ""))
        found[f"µs of Redis, {depth}"] = number(1e6 / rate)
    return found


def cell(page: str, begin: str, column: int) -> str:
    rows = [line for line in page.splitlines() if line.startswith(begin)]
    if len(rows) != 1:
        raise ValueError(f"the page has {len(rows)} rows that begin with {begin!r}, it must have one")
    return rows[0].strip("| ").split(" | ")[column].split()[0]


def with_numbers(text: str, current: dict[str, str]) -> str:
    """*text* with today's numbers before their names."""
    return QUOTED.sub(lambda found: current[found[3]] + found[2], text)


def pages() -> Iterable[Path]:
    return (ROOT / "README.md", *sorted(DOCS.glob("*.md")))


def renew() -> None:
    current = numbers(PAGE.read_text())
    for page in pages():
        text = page.read_text()
        if (after := with_numbers(text, current)) != text:
            page.write_text(after)
