"""
When each resource is to be read: in its own period, and less often while it is in doubt. Pure.

Due times lie on one grid, so that resources with the same period, and every longer one now and then, share a poll. The
grid of each Redis begins at another time: nine hundred that refuse connections are not all tried in the same moment,
which would hold up the readings of the others. It is not called a schedule: that is a request that users register again
and again.
"""

from collections import Counter
from math import floor, inf

from sharded_queue_operator.resource.name import Name

LONGEST_PAUSE_SECONDS = 10.0
"""
The longest pause between two reads of a resource in doubt: pauses are 1, 2, 4, 8 and 10 seconds, or the period where it
is longer. A Redis that comes back is found this late at most. With a shorter pause, five hundred that never come back
would keep a core busy.
"""

MOST_DOUBLINGS = 4


class Timetable:
    """*begun* is where the grid begins; all times are those of one monotonic clock."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._hurried: set[Name] = set()
        self._due_at: dict[Name, float] = {}
        self._doubts: Counter[Name] = Counter()
        """Readings in a row that carried a doubt."""

    def hurry(self, name: Name) -> None:
        """Read *name* at once; once more if it is being read."""
        self._hurried.add(name)

    def record(self, name: Name, period_seconds: float, now: float, *, is_known: bool) -> None:
        """Note the outcome of a read, and set when the next one is due."""
        if is_known:
            self._doubts.pop(name, None)
        else:
            self._doubts[name] += 1
        step = max(period_seconds, self._pause(name))
        self._due_at[name] = self._begun + step * (floor((now - self._begun) / step) + 1)

    def forget(self, name: Name) -> None:
        self._hurried.discard(name)
        self._due_at.pop(name, None)
        self._doubts.pop(name, None)

    def take_due(self, now: float) -> set[Name]:
        """All resources that are due; those that were hurried are so no longer."""
        hurried, self._hurried = self._hurried, set()
        return hurried.union(name for name in self._due_at if self.is_due(name, now))

    def is_due(self, name: Name, now: float) -> bool:
        """Whether the time of *name* has come, hurried or not."""
        return self._due_at.get(name, inf) <= now

    @property
    def next_due(self) -> float:
        return self._begun if self._hurried else min(self._due_at.values(), default=inf)

    @property
    def in_doubt(self) -> list[Name]:
        return list(self._doubts)

    def _pause(self, name: Name) -> float:
        """The shortest time between reads after the doubts so far; 0 without any."""
        doubts = self._doubts.get(name, 0)
        return min(LONGEST_PAUSE_SECONDS, 2.0 ** min(doubts - 1, MOST_DOUBLINGS)) if doubts else 0.0
