"""Events in order of time. Times are whole microseconds, so that rounding never loses a remainder."""

import heapq
from collections.abc import Callable

SECOND = 1_000_000


def us(seconds: float) -> int:
    return round(seconds * SECOND)


class Timeline:
    """Events at the same moment happen in the order in which they were planned."""

    def __init__(self) -> None:
        self.now = 0
        self._planned = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []

    @property
    def seconds(self) -> float:
        return self.now / SECOND

    def after(self, delay: int, event: Callable[[], None]) -> None:
        """Plan *event* for *delay* microseconds from now."""
        if delay < 0:
            raise ValueError(f"an event {-delay} µs ago cannot be planned: the delay must be 0 or more")
        self._planned += 1
        heapq.heappush(self._events, (self.now + delay, self._planned, event))

    def every(self, period: int, event: Callable[[], None], *, first: int) -> None:
        """Plan *event* after *first* microseconds, and then every *period*."""

        def again() -> None:
            self.after(period, again)
            event()

        self.after(first, again)

    def run(self, until: int, is_over: Callable[[], bool] = lambda: False) -> None:
        """Run what is planned up to and including *until*, or until it is over."""
        while self._events and self._events[0][0] <= until and not is_over():
            self.now, _, event = heapq.heappop(self._events)
            event()
        if not is_over():
            self.now = until
