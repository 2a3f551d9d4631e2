"""Work that takes long: a few at once, some wait for it, and more are refused."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Busy(Exception):
    """Too many wait already."""


class WaitingRoom:
    """Of each key, *at_once* work and the others wait, *most* together."""

    def __init__(self, at_once: int, most: int) -> None:
        self.at_once, self.most = at_once, most
        self._present: Counter[Hashable] = Counter()
        self._places: dict[Hashable, asyncio.Semaphore] = {}

    def __len__(self) -> int:
        """Those who work or wait."""
        return self._present.total()

    @asynccontextmanager
    async def enter(self, key: Hashable = None) -> AsyncIterator[None]:
        """
        Wait, and then keep a place while the body runs.

        Raises:
            Busy: *most* of this key are there already.
        """
        if self._present[key] >= self.most:
            raise Busy
        self._present[key] += 1
        try:
            async with self._places.setdefault(key, asyncio.Semaphore(self.at_once)):
                yield
        finally:
            self._present[key] -= 1
            if not self._present[key]:
                del self._present[key], self._places[key]
