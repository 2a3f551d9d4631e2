"""
Readings that do not come. Whatever stops them, a status says so: code that only waits would stay silent for ever.
"""

import asyncio
from collections.abc import Callable

from sharded_queue_operator.resource.name import Name


class Overdue:
    """Calls *tell* once with each name from which nothing came until its time."""

    def __init__(self, tell: Callable[[Name], None]) -> None:
        self.tell = tell
        self.deadlines: dict[Name, float] = {}
        self.timers: dict[Name, asyncio.TimerHandle] = {}
        """One a name, which looks at its deadline only when it fires: news comes far more often than it fails to."""

    def expect(self, name: Name, seconds: float) -> None:
        """Something came of *name*; the next is to come within *seconds*."""
        deadline = asyncio.get_running_loop().time() + seconds
        is_sooner = deadline < self.deadlines.get(name, float("inf"))
        self.deadlines[name] = deadline
        if is_sooner:
            self.arm(name)

    def forget(self, name: Name) -> None:
        self.deadlines.pop(name, None)
        if timer := self.timers.pop(name, None):
            timer.cancel()

    def close(self) -> None:
        for name in list(self.timers):
            self.forget(name)

    def arm(self, name: Name) -> None:
        if timer := self.timers.get(name):
            timer.cancel()
        self.timers[name] = asyncio.get_running_loop().call_at(self.deadlines[name], self.look, name)

    def look(self, name: Name) -> None:
        if asyncio.get_running_loop().time() < self.deadlines[name]:
            self.arm(name)
            return
        self.forget(name)
        self.tell(name)
