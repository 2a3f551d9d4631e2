"""How long requests wait and calls take, counted at a cost that hardly grows with the size of a batch."""

from bisect import bisect_left
from collections.abc import Sequence

from sharded_queue.serializer import STAMP_DIGITS

BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000)
"""
Upper bounds of the buckets, the same for waits and calls so that the two can be compared. Requests carry their time in
whole milliseconds: no shorter wait can be measured. A wait above 10 minutes is a backlog; the lag says more about it.
Each bound is 2 to 3 times the one before it: a quantile is off by no more than that, and a handler has few series.
"""


class Histogram:
    """
    *counts[i]* is the number of observations up to `BOUNDS_MS[i]` and above the bound before it; the last one is the
    number of those above all bounds.
    """

    __slots__ = ("counts", "sum_ms")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.sum_ms = 0.0

    def add(self, ms: float) -> None:
        self.counts[bisect_left(BOUNDS_MS, ms)] += 1
        self.sum_ms += ms

    def add_waits(self, messages: Sequence[bytes], now_ms: int) -> None:
        """
        Count what *messages*, in the order of their tube, have waited until *now_ms*.

        Messages are in the order of their times, so the first and the last message of a bucket tell its extent, and
        `sum_ms` gets the mean of these two for each message. The few that are out of order, such as a dead letter that
        came back, count in the bucket of a neighbour. Every message counts once.
        """
        if not messages:
            return
        count, longest = len(messages), wait_ms(messages[0], now_ms)
        are_of_one_moment = messages[0][:STAMP_DIGITS] == messages[-1][:STAMP_DIGITS]
        shortest = longest if are_of_one_moment else wait_ms(messages[-1], now_ms)
        bucket = bisect_left(BOUNDS_MS, longest)
        if bucket == 0 or shortest > BOUNDS_MS[bucket - 1]:
            self.counts[bucket] += count
            self.sum_ms += (longest + shortest) * count / 2
        else:
            self._add_by_bucket(messages, now_ms)

    def _add_by_bucket(self, messages: Sequence[bytes], now_ms: int) -> None:
        first, count = 0, len(messages)
        shortest = wait_ms(messages[-1], now_ms)
        last_bucket = bisect_left(BOUNDS_MS, shortest)
        while first < count:
            longest = wait_ms(messages[first], now_ms)
            bucket = bisect_left(BOUNDS_MS, longest)
            end = count if bucket <= last_bucket else _end_of(bucket, messages, now_ms, first)
            self.counts[bucket] += end - first
            least = shortest if end == count else wait_ms(messages[end - 1], now_ms)
            self.sum_ms += (longest + least) * (end - first) / 2
            first = end


class Latency:
    """Histograms of one handler: *waits* of requests until their first try, and *calls* of `perform` or `handle`."""

    __slots__ = ("calls", "waits")

    def __init__(self) -> None:
        self.waits, self.calls = Histogram(), Histogram()


def wait_ms(message: bytes, now_ms: int) -> int:
    """Never negative, though clocks differ. A message without a time, written by another program, counts as new."""
    try:
        waited = now_ms - int(message[:STAMP_DIGITS])
    except ValueError:
        return 0
    return waited if waited > 0 else 0


def _end_of(bucket: int, messages: Sequence[bytes], now_ms: int, first: int) -> int:
    """The index after the last message of the bucket that begins with *first*."""
    return bisect_left(messages, b"%013d" % (now_ms - BOUNDS_MS[bucket - 1]), first + 1)
