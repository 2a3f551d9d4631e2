"""
A page that another package adds to the console: all that the two know of each other.

A package names its page in the entry-point group `sharded_queue.pages`, under the last part of its address. The entry
point is an `OpenPage`, imported and called where a console is started with `--page NAME` or `--page NAME=TEXT`. The
page says what is so, and the console shows it as it shows everything: escaped, bounded, live, 25 rows at a time.
Whatever the page does is done in an OS thread of its own, so it may block.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sharded_queue.admin.words import Tone
from sharded_queue.web.people import Role

__all__ = ["AddedPage", "Content", "Fact", "OpenPage", "Remark", "Row", "Tone"]


class Remark(NamedTuple):
    """A sentence below the facts of a row."""

    text: str
    tone: Tone


class Fact(NamedTuple):
    """A name with a value, with links to *handlers*, or with a *line* of the last five minutes."""

    name: str
    value: str = ""
    handlers: Sequence[str] = ()
    """Names of handlers, which are links where the console knows them."""
    line: Sequence[tuple[float, float]] | None = None
    """(seconds before the last point, number), the oldest first."""


class Row(NamedTuple):
    """One thing of those that the page lists. *state*: a word."""

    name: str
    state: str
    tone: Tone
    text: str = ""
    facts: Sequence[Fact] = ()
    remarks: Sequence[Remark] = ()


class Content(NamedTuple):
    """What the page shows. *answer*: the one sentence that a person who opens it wants."""

    answer: str
    tone: Tone
    key: str
    """Stays the same while only numbers of the answer change: a screen reader is told of another key only."""
    rows: Sequence[Row] = ()
    note: str = ""
    """A sentence below the rows."""


class AddedPage(Protocol):
    @property
    def title(self) -> str:
        """What the menu calls it."""

    @property
    def role(self) -> Role:
        """The least role of those who may see it."""

    @property
    def period_seconds(self) -> float:
        """Between two readings; 1 to 3,600."""

    def read(self) -> Content:
        """
        What is so now, for all who have the page open. A reading is over before the next one begins.

        An error that it raises is shown on the page, above what was read before.
        """


class OpenPage(Protocol):
    def __call__(self, text: str, /) -> AddedPage:
        """*text*: what stands after `NAME=`; empty without it."""
