"""
Live pages: a page in a browser gets what changed of it, line by line, by server-sent events.

All browsers that show the same page are one channel. It is rendered once for each look at Redis, and compared with what
it was before.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple, Protocol

import msgspec

from sharded_queue.web.details import Question

MOST_PAGES = 128
"""Open pages at once. A page costs the console a connection and about 30 kB, and Redis nothing."""
PAGES_A_PERSON = 24
"""Of each person, or of each address where persons are not told apart. A browser opens six."""
ROUND_SECONDS = 0.2
"""To render pages after each look at Redis. Those that are left come first after the next one."""
WAITING_EVENTS = 8
"""Updates that a slow browser may lag behind before it gets the whole page again instead."""


class View(Protocol):
    """A page as somebody sees it."""

    def render(self) -> str:
        """The live part of it, now."""

    def questions(self) -> Sequence[Question]:
        """What it shows beside the world."""


class Splice(NamedTuple):
    """From line *begin* on, *length* lines are replaced by *lines*."""

    begin: int
    length: int
    lines: list[str]


def difference(before: Sequence[str], after: Sequence[str]) -> list[Splice]:
    """What turns *before* into *after*. Pages change in place, so lines are compared by their number."""
    if len(before) == len(after):
        return list(changed(before, after))
    shortest = min(len(before), len(after))
    head = next((index for index in range(shortest) if before[index] != after[index]), shortest)
    most = shortest - head
    tail = next((index for index in range(most) if before[-1 - index] != after[-1 - index]), most)
    return [Splice(head, len(before) - tail - head, list(after[head : len(after) - tail]))]


def changed(before: Sequence[str], after: Sequence[str]) -> Iterator[Splice]:
    """Runs of lines that differ, from the last to the first, so that each leaves the numbers of those to come alone."""
    end = len(before)
    while end:
        if before[end - 1] == after[end - 1]:
            end -= 1
            continue
        begin = end
        while begin and before[begin - 1] != after[begin - 1]:
            begin -= 1
        yield Splice(begin, end - begin, list(after[begin:end]))
        end = begin


class Event(NamedTuple):
    """*name*: `whole`, with all lines, or `part`, with splices."""

    name: str
    data: str


def whole(lines: Sequence[str]) -> Event:
    return Event("whole", msgspec.json.encode(list(lines)).decode())


class Channel:
    """One page, as all its browsers see it."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.lines = view.render().split("\n")
        self.browsers: set[asyncio.Queue[Event]] = set()

    def publish(self) -> None:
        lines = self.view.render().split("\n")
        splices = difference(self.lines, lines)
        self.lines = lines
        if not splices:
            return
        event = Event("part", msgspec.json.encode(splices).decode())
        for browser in self.browsers:
            self._send(browser, event)

    def _send(self, browser: asyncio.Queue[Event], event: Event) -> None:
        if not browser.full():
            browser.put_nowait(event)
            return
        while not browser.empty():
            browser.get_nowait()
        browser.put_nowait(whole(self.lines))

    @contextmanager
    def opened(self) -> Iterator[asyncio.Queue[Event]]:
        browser: asyncio.Queue[Event] = asyncio.Queue(WAITING_EVENTS)
        browser.put_nowait(whole(self.lines))
        self.browsers.add(browser)
        try:
            yield browser
        finally:
            self.browsers.discard(browser)


class Places:
    """Who has live pages open, from before the first byte of an answer to its end."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def complaint(self, who: str) -> str:
        """Why somebody gets no more of them; empty for who does."""
        if self._open.total() >= MOST_PAGES:
            return f"{MOST_PAGES:,} pages are open already"
        return f"you have {PAGES_A_PERSON} pages open already" * (self._open[who] >= PAGES_A_PERSON)

    @contextmanager
    def hold(self, who: str) -> Iterator[None]:
        self._open[who] += 1
        try:
            yield
        finally:
            self._open[who] -= 1
            self._open += Counter()  # forgets those who have none


class Channels:
    """The channels that browsers are at, by what makes two pages differ."""

    def __init__(self, elapsed: Callable[[], float] = monotonic) -> None:
        self.by_key: dict[tuple[str, ...], Channel] = {}
        """The one that was published last is the last."""
        self._elapsed = elapsed

    async def follow(self, key: tuple[str, ...], view: View) -> AsyncIterator[Event]:
        """All events of a page, the whole of it first."""
        channel = self.by_key.get(key)
        if channel is None:
            channel = self.by_key[key] = Channel(view)
        try:
            with channel.opened() as browser:
                while True:
                    yield await browser.get()
        finally:
            if not channel.browsers and self.by_key.get(key) is channel:
                del self.by_key[key]

    async def publish(self) -> None:
        """Publish pages for a while, those first that have waited longest, and let others have the loop in between."""
        end = self._elapsed() + ROUND_SECONDS
        for key in list(self.by_key):
            if self._elapsed() >= end:
                return
            if channel := self.by_key.pop(key, None):
                self.by_key[key] = channel
                channel.publish()
            await asyncio.sleep(0)

    def questions(self) -> set[Question]:
        """What open pages show."""
        return {question for channel in self.by_key.values() for question in channel.view.questions()}
