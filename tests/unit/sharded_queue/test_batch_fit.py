"""How many requests a call gets where a limit bounds it, as a timeline: no clock goes by."""

from collections import Counter
from collections.abc import Callable

from sharded_queue import Handler, settings
from sharded_queue.worker.batch_fit import BatchFit, BatchFits

Seconds = Callable[[int], float]


class Timeline:
    """A thread of *count* requests; request n takes seconds(n), and what is over the limit comes one by one again."""

    def __init__(self, limit_seconds: float, count: int, seconds: Seconds) -> None:
        self.fit, self.limit_seconds, self.seconds = BatchFit(limit_seconds), limit_seconds, seconds
        self.sizes: list[int] = []
        self.handled: Counter[int] = Counter()
        self.failed: list[int] = []
        at = 0
        while at < count:
            size = min(self.fit.size(), count - at)
            if not self.call(range(at, at + size)) and size > 1:
                for number in range(at, at + size):
                    self.call(range(number, number + 1))
            at += size

    def call(self, numbers: range) -> bool:
        """Whether the call was done within the limit."""
        took = 0.0
        for number in numbers:
            took += self.seconds(number)
            if took >= self.limit_seconds:
                break
            self.handled[number] += 1
        is_done = took < self.limit_seconds
        self.sizes.append(len(numbers))
        self.fit.note(len(numbers), min(took, self.limit_seconds), settings.worker_batch_size)
        if not is_done and len(numbers) == 1:
            self.failed.append(numbers[0])
        return is_done

    @property
    def repeated(self) -> int:
        return sum(times - 1 for times in self.handled.values())


def test_requests_of_a_steady_time_are_handled_once() -> None:
    line = Timeline(5, 256, lambda _: 0.1)

    assert line.sizes[:5] == [1, 2, 4, 8, 16]
    assert 24 <= max(line.sizes) <= 25
    assert (line.repeated, line.failed) == (0, [])


def test_slower_requests_get_smaller_calls() -> None:
    line = Timeline(10, 256, lambda _: 0.3)

    assert max(line.sizes) == 16
    assert (line.repeated, line.failed) == (0, [])


def test_requests_that_take_nearly_twice_as_long_are_handled_once() -> None:
    line = Timeline(5, 1000, lambda number: 0.1 if number % 100 < 90 else 0.19)

    assert (line.repeated, line.failed) == (0, [])


def test_requests_that_become_slower_suddenly_are_repeated_once() -> None:
    line = Timeline(5, 1000, lambda number: 0.01 if number < 500 else 1.0)

    assert 0 < line.repeated < settings.worker_batch_size
    assert line.failed == []
    assert max(line.handled.values()) == 2
    assert max(line.sizes[-20:]) == 2


def test_among_requests_of_two_speeds_none_is_handled_more_than_twice() -> None:
    line = Timeline(5, 1000, lambda number: 3 if number % 50 == 7 else 0.01)

    assert max(line.handled.values()) <= 2
    assert line.failed == []


def test_one_request_that_hangs_is_found_within_the_limit() -> None:
    line = Timeline(5, 128, lambda number: 3600 if number == 100 else 0.01)

    assert line.failed == [100]
    assert max(line.handled.values()) == 2


def test_a_request_that_takes_longer_than_half_of_the_limit_comes_alone() -> None:
    line = Timeline(5, 20, lambda _: 4)

    assert set(line.sizes) == {1}
    assert (line.repeated, line.failed) == (0, [])


def test_one_slow_call_is_forgotten_after_ten_others() -> None:
    fit = BatchFit(10)
    fit.note(1, 5, 128)
    sizes = []
    for _ in range(12):
        sizes.append(fit.size())
        fit.note(sizes[-1], 0.01, settings.worker_batch_size)

    assert sizes == [1] * 10 + [2, 4]


def test_a_call_for_which_few_requests_waited_says_nothing_of_larger_ones() -> None:
    fit = BatchFit(10)
    for _ in range(4):
        fit.note(fit.size(), 0.1, 128)
    before = fit.size()
    for _ in range(20):
        fit.note(1, 0.1, 128)

    assert before == fit.size() == 16


def test_a_call_that_took_no_time_on_a_coarse_clock_fits() -> None:
    fit = BatchFit(10)
    fit.note(1, 0.0, 128)

    assert fit.size() == 2


class LimitedHandler(Handler):
    timeout_seconds = 10

    async def perform(self, *requests: int) -> None: ...


class FreeHandler(Handler):
    async def perform(self, *requests: int) -> None: ...


def test_handlers_fit_by_themselves_and_those_without_a_limit_get_full_batches() -> None:
    fits = BatchFits()
    fits.note(LimitedHandler, 1, 0.1, None)
    fits.note(FreeHandler, 1, 100, None)

    assert (fits.size(LimitedHandler), fits.size(FreeHandler)) == (2, settings.worker_batch_size)


def test_an_error_before_the_limit_says_nothing_of_the_time() -> None:
    fits = BatchFits()
    fits.note(LimitedHandler, 1, 0.1, None)
    fits.note(LimitedHandler, 2, 0.0001, ValueError())
    after_error = fits.size(LimitedHandler)
    fits.note(LimitedHandler, 2, 10, TimeoutError())

    assert (after_error, fits.size(LimitedHandler)) == (2, 1)


def test_no_batch_is_larger_than_the_setting() -> None:
    settings.worker_batch_size = 3
    fits = BatchFits()
    for _ in range(5):
        fits.note(LimitedHandler, fits.size(LimitedHandler), 0.001, None)

    assert fits.size(LimitedHandler) == 3


def test_a_handler_with_a_batch_size_of_its_own_gets_no_larger_one() -> None:
    class SmallHandler(Handler):
        batch_size = 3

    class LargeHandler(Handler):
        batch_size = 1_000

    class TimedHandler(Handler):
        batch_size, timeout_seconds = 3, 10

        async def perform(self, *requests: int) -> None: ...

    fits = BatchFits()
    assert [fits.size(handler) for handler in (SmallHandler, LargeHandler, TimedHandler)] == [3, 1_000, 1]
    for _ in range(4):
        fits.note(TimedHandler, fits.size(TimedHandler), 0.0, None)
    assert fits.size(TimedHandler) == 3
