"""
How many requests a call of a handler with `timeout_seconds` gets: as many as fit into its limit, so that the limit
bounds a request as well, and requests that are handled in time are not repeated.
"""

from collections import deque

from sharded_queue.handler import Handler, batch_size_of, timeout_of

CALLS_REMEMBERED = 10
SHARE = 0.5
"""The part of the limit that a call should take: a request may take twice its usual time."""


class BatchFit:
    """
    The batches of one handler. They begin with one request. The next one is what fits into half of the limit at the
    slowest time a request of the last ten calls, but at most twice the last full one.
    """

    __slots__ = ("_limit_seconds", "_most", "_seconds_a_request")

    def __init__(self, limit_seconds: float) -> None:
        self._limit_seconds, self._most = limit_seconds, 1
        self._seconds_a_request: deque[float] = deque(maxlen=CALLS_REMEMBERED)

    def size(self) -> int:
        """The most requests of the next batch."""
        slowest = max(self._seconds_a_request, default=0.0)
        if slowest * self._most <= self._limit_seconds * SHARE:
            return self._most
        return max(1, int(self._limit_seconds * SHARE / slowest))

    def note(self, count: int, seconds: float, most: int) -> None:
        """
        A call of *count* requests took *seconds*. Only a full one says how large the next may be, of *most* requests.
        """
        full = self.size()
        self._seconds_a_request.append(seconds / count)
        if seconds >= self._limit_seconds:
            self._most = 1
        elif count >= full:
            self._most = min(2 * full, most)


class BatchFits:
    """The fits of a worker's handlers. A handler without `timeout_seconds` gets full batches."""

    def __init__(self) -> None:
        self._fits: dict[str, BatchFit] = {}

    def size(self, handler: type[Handler] | None) -> int:
        """The most requests of the next batch of *handler*."""
        fit, most = self._fit_of(handler) if handler else None, batch_size_of(handler)
        return min(most, fit.size()) if fit else most

    def note(self, handler: type[Handler], count: int, seconds: float, error: BaseException | None) -> None:
        """A call ended. One that failed before its limit does not tell how long requests take."""
        fit = self._fit_of(handler)
        if fit and (error is None or seconds >= (timeout_of(handler) or 0)):
            fit.note(count, seconds, batch_size_of(handler))

    def _fit_of(self, handler: type[Handler]) -> BatchFit | None:
        limit = timeout_of(handler)
        if limit is None:
            return None
        return self._fits.get(handler.name) or self._fits.setdefault(handler.name, BatchFit(limit))
