"""
When each resource is to be read: every period of its own, and less often while it is in doubt. Pure.

Due times lie on one grid, so that resources with the same period, and every longer one now and then, share a poll.
"""

from collections import Counter
from math import floor

from sharded_queue_operator.resource.name import Name

LONGEST_PAUSE_SECONDS = 10.0
"""
Between two reads of what is in doubt: after 1, 2, 4 and 8 seconds, or its period where that is longer. A Redis that
comes back is found that late at most; a shorter pause would make five hundred that never do keep a core busy.
"""

MOST_DOUBLINGS = 4


class Timetable:
    """*begun* is where the grid begins; all times are those of one monotonic clock."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.called: set[Name] = set()
        self.dues: dict[Name, float] = {}
        self.doubts: Counter[Name] = Counter()
        """Readings in a row that carried a doubt."""

    def call(self, name: Name) -> None:
        """Read *name* at once; when it is being read, once more afterwards."""
        self.called.add(name)

    def read(self, name: Name, period_seconds: float, now: float, *, is_known: bool) -> None:
        """Note what came of a read, which says when the next is due."""
        if is_known:
            self.doubts.pop(name, None)
        else:
            self.doubts[name] += 1
        pause = max(period_seconds, self.pause(name))
        self.dues[name] = self.begun + pause * (floor((now - self.begun) / pause) + 1)

    def pause(self, name: Name) -> float:
        """What doubts in a row add to the period; nothing without any."""
        doubts = self.doubts.get(name, 0)
        return min(LONGEST_PAUSE_SECONDS, 2.0 ** min(doubts - 1, MOST_DOUBLINGS)) if doubts else 0.0

    def forget(self, name: Name) -> None:
        self.called.discard(name)
        self.dues.pop(name, None)
        self.doubts.pop(name, None)

    def due(self, now: float) -> set[Name]:
        """All that are to be read now; what was called is called no more."""
        called, self.called = self.called, set()
        return called.union(name for name, due in self.dues.items() if due <= now)

    @property
    def next_due(self) -> float:
        return self.begun if self.called else min(self.dues.values(), default=float("inf"))
