"""
A time-out for round trips.

`asyncio.timeout` starts a timer and cancels it again, which took a tenth of the CPU time of a worker with one thread.
Nearly all round trips end in time, so all that are under way share one timer.
"""

import asyncio
from types import TracebackType


class Deadlines:
    """The deadlines of what is under way in the running event loop."""

    __slots__ = ("_timer", "_under_way", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._under_way: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> "Deadline":
        """A `with` block that ends within *seconds*, or is cancelled and raises `TimeoutError`."""
        return Deadline(self, self.loop.time() + seconds)

    def add(self, deadline: "Deadline") -> None:
        self._under_way.add(deadline)
        if self._timer is None or deadline.at < self._timer.when():
            self._set_timer(deadline.at)

    def discard(self, deadline: "Deadline") -> None:
        """The timer goes on: if it were cancelled here, the next round trip would have to start it again."""
        self._under_way.discard(deadline)

    def _set_timer(self, at: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self.loop.call_at(at, self._expire)

    def _expire(self) -> None:
        self._timer, now = None, self.loop.time()
        late = [deadline for deadline in self._under_way if deadline.at <= now]
        for deadline in sorted(late, key=lambda deadline: deadline.at):  # many are late where the loop stood still
            self._under_way.discard(deadline)
            deadline.expire()
        if self._under_way:
            self._set_timer(min(deadline.at for deadline in self._under_way))


class Deadline:
    """
    As `asyncio.timeout`: the task of the block is cancelled at *at*, by the event loop's clock.

    Raises:
        TimeoutError: at the end of the block, unless somebody else cancelled the task as well.
    """

    __slots__ = ("_cancellations", "_deadlines", "_is_expired", "_task", "at")

    def __init__(self, deadlines: Deadlines, at: float) -> None:
        self._deadlines, self.at, self._is_expired = deadlines, at, False

    def __enter__(self) -> None:
        task = asyncio.current_task(self._deadlines.loop)
        assert task
        self._task, self._cancellations = task, task.cancelling()
        self._deadlines.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.discard(self)
        if self._is_expired and self._task.uncancel() <= self._cancellations and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        self._is_expired = True
        self._task.cancel()
