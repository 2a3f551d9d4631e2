"""
Readings that do not come. Code that only waits for news does not notice when the news stops; a watchdog does.
"""

import asyncio
from collections.abc import Callable

from sharded_queue_operator.resource.name import Name


class Watchdog:
    """Calls *on_silence* when no news of a name came in time: once, until news of it is expected again."""

    def __init__(self, on_silence: Callable[[Name], None]) -> None:
        self._on_silence = on_silence
        self._deadlines: dict[Name, float] = {}
        self._timers: dict[Name, asyncio.TimerHandle] = {}
        """One a name. A timer looks at the deadline as it fires: moving it with each piece of news would cost more."""

    def expect(self, name: Name, seconds: float) -> None:
        """News of *name* came; the next is due within *seconds*."""
        deadline = asyncio.get_running_loop().time() + seconds
        is_sooner = deadline < self._deadlines.get(name, float("inf"))
        self._deadlines[name] = deadline
        if is_sooner:
            self._arm(name)

    def forget(self, name: Name) -> None:
        self._deadlines.pop(name, None)
        if timer := self._timers.pop(name, None):
            timer.cancel()

    def close(self) -> None:
        for name in list(self._timers):
            self.forget(name)

    def _arm(self, name: Name) -> None:
        if timer := self._timers.get(name):
            timer.cancel()
        self._timers[name] = asyncio.get_running_loop().call_at(self._deadlines[name], self._fire, name)

    def _fire(self, name: Name) -> None:
        if asyncio.get_running_loop().time() < self._deadlines[name]:
            self._arm(name)
            return
        self.forget(name)
        self._on_silence(name)
