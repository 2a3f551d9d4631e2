"""Waits are counted for a batch at once; what comes out is what counting one by one would give."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharded_queue.worker.latency import BOUNDS_MS, Histogram, wait_ms

NOW_MS = 1_800_000_000_000
LONGEST_MS = 2 * BOUNDS_MS[-1]

around_bounds = st.sampled_from([bound + step for bound in (0, *BOUNDS_MS) for step in (-1, 0, 1)])
waits = st.lists(st.integers(-1_000, LONGEST_MS) | around_bounds, min_size=1, max_size=128)


def message(waited_ms: int, mark: bytes = b"") -> bytes:
    return b"%013d" % (NOW_MS - waited_ms) + mark + b'{"number": 1}'


def counted(waited: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.add_waits([message(ms) for ms in waited], NOW_MS)
    return histogram


@given(waits)
def test_a_batch_in_order_is_counted_as_its_requests_would_be(waited: list[int]) -> None:
    one_by_one = Histogram()
    for ms in waited:
        one_by_one.add(max(0, ms))

    assert counted(sorted(waited, reverse=True)).counts == one_by_one.counts


@given(waits)
def test_every_request_is_counted_once_whatever_the_order(waited: list[int]) -> None:
    assert sum(counted(waited).counts) == len(waited)


@given(waits)
@pytest.mark.slow
def test_the_sum_is_between_the_bounds_of_the_buckets(waited: list[int]) -> None:
    real = [max(0, ms) for ms in waited]
    least = sum((0, *BOUNDS_MS)[bisect_left(BOUNDS_MS, ms)] for ms in real)
    most = sum((*BOUNDS_MS, LONGEST_MS)[bisect_left(BOUNDS_MS, ms)] for ms in real)

    assert least <= counted(sorted(waited, reverse=True)).sum_ms <= most


def test_the_sum_of_requests_that_came_together_is_exact() -> None:
    assert counted([70_000] * 3 + [40_000] * 2).sum_ms == 290_000


@pytest.mark.parametrize(
    ("stored", "waited_ms"),
    [
        (message(30_000), 30_000),
        (message(30_000, b"#0000abcd"), 30_000),
        (message(-30_000), 0),
        (b"nothing of ours", 0),
        (b"", 0),
    ],
    ids=["a request", "routed by key", "by a clock that is ahead", "without a time", "empty"],
)
def test_a_wait_is_never_negative(stored: bytes, waited_ms: int) -> None:
    assert wait_ms(stored, NOW_MS) == waited_ms


def test_messages_without_a_time_count_as_new() -> None:
    histogram = Histogram()
    histogram.add_waits([b"alien", message(30_000), b"alien"], NOW_MS)

    assert sum(histogram.counts) == 3


def test_no_messages_count_as_nothing() -> None:
    assert sum(counted([]).counts) == 0
