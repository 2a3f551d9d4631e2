"""
The host of a page that another package adds.

Each page is opened and read in an OS thread of its own. What it raises is a sentence on its page; if it hangs, its page
says so, and nothing waits for it. What it answers is copied within bounds before the event loop sees it.
"""

import logging
import time
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from itertools import islice
from math import isfinite
from threading import Event, Thread
from typing import NamedTuple, get_args

from sharded_queue.admin.words import how_to_install
from sharded_queue.errors import ShardedQueueError, describe
from sharded_queue.printable import printable
from sharded_queue.web.added_page import AddedPage, Content, Fact, Remark, Row, Tone
from sharded_queue.web.history import POINTS, STEP_SECONDS
from sharded_queue.web.people import ROLES, Role

log = logging.getLogger("sharded_queue.web")

PATIENCE_SECONDS = 15.0
"""A page whose reading takes longer counts as silent until it ends."""
LEAST_SECONDS, MOST_SECONDS = 1.0, 3600.0
"""Between two readings."""
MOST_ROWS, MOST_PARTS = 1000, 40
"""Rows of a page; facts, remarks and handlers of a row."""
LONGEST, LONGEST_NAME = 1000, 100
"""Characters of a text, and of the word of a state or of a title."""


class Reading(NamedTuple):
    """What a page shows, as it was read at *at*, in seconds since 1970."""

    at: float = 0.0
    content: Content = Content("This page has not been read yet", "idle", "not yet")
    silent_since: float | None = None
    """Since when it has no news; None while it has."""
    trouble: str = ""


class Host:
    """*point* names what opens the page with *text*."""

    def __init__(self, point: EntryPoint, text: str = "") -> None:
        self.name, self.title = point.name, point.name
        self.role: Role = "viewer"
        """Until the page says another one, it has shown nothing."""
        self._point, self._text = point, text
        self._page: AddedPage | None = None
        self._reading = Reading()
        self._began: float | None = None
        self._stopped = Event()

    def start(self) -> None:
        Thread(target=self._run, name=f"page {self.name}", daemon=True).start()

    def stop(self) -> None:
        """A reading that is under way is left to itself: nothing can end it."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self.round()):
            pass

    def round(self) -> float:
        """Read the page; the seconds until it is to be read again. Never raises."""
        before, self._began = self._reading, time.time()
        try:
            page = self._open()
            content, seconds = bounded(page.read()), float(page.period_seconds)
        except BaseException as error:  # also a page that exits
            if before.silent_since is None:
                log.warning("the page %s cannot be read: %s", self.name, self._said(error))
            since = before.silent_since or self._began
            self._reading = before._replace(silent_since=since, trouble=self._said(error))
            return STEP_SECONDS
        else:
            if before.silent_since is not None:
                log.info("the page %s can be read again", self.name)
            self._reading = Reading(time.time(), content)
            return seconds if LEAST_SECONDS <= seconds <= MOST_SECONDS else STEP_SECONDS
        finally:
            self._began = None

    def _open(self) -> AddedPage:
        if self._page is None:
            page: AddedPage = self._point.load()(self._text)
            if page.role not in ROLES:
                raise ValueError(f"{page.role!r} is not a role")
            self.role, self.title = page.role, printable(page.title, LONGEST_NAME)
            self._page = page
        return self._page

    def _said(self, error: BaseException) -> str:
        """An error as a sentence: ours are meant for people."""
        if isinstance(error, ModuleNotFoundError):
            return how_to_install(self._point, error)
        return printable(error, LONGEST) if isinstance(error, ShardedQueueError) else describe(error)

    def reading(self) -> Reading:
        """What is known now. Waits for nothing."""
        reading, began = self._reading, self._began
        if began is None or time.time() - began < PATIENCE_SECONDS:
            return reading
        since = reading.silent_since or began
        return reading._replace(silent_since=since, trouble="the page does not answer the console")


def bounded(content: Content) -> Content:
    """A copy of plain texts and numbers, of which none is too long and none too many."""
    rows = [_row(row) for row in islice(content.rows, MOST_ROWS)]
    return Content(_text(content.answer), _tone(content.tone), _text(content.key), rows, _text(content.note))


def _row(row: Row) -> Row:
    facts = [_fact(fact) for fact in islice(row.facts, MOST_PARTS)]
    remarks = [Remark(_text(each.text), _tone(each.tone)) for each in islice(row.remarks, MOST_PARTS)]
    return Row(_text(row.name), _name(row.state), _tone(row.tone), _text(row.text), facts, remarks)


def _fact(fact: Fact) -> Fact:
    handlers = [_text(handler) for handler in islice(fact.handlers, MOST_PARTS)]
    return Fact(_name(fact.name), _text(fact.value), handlers, None if fact.line is None else _line(fact.line))


def _line(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    line = [(float(ago), float(number)) for ago, number in islice(points, POINTS)]
    if not all(isfinite(ago) and isfinite(number) for ago, number in line):
        raise ValueError("a line has a point that is not a number")
    return line


def _text(value: object) -> str:
    return printable(value, LONGEST)


def _name(value: object) -> str:
    return printable(value, LONGEST_NAME)


def _tone(tone: Tone) -> Tone:
    if tone not in get_args(Tone):
        raise ValueError(f"{tone!r} is not a tone")
    return tone
