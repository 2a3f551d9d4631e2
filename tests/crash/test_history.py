"""The checker itself: it finds every wrong that was put into a history, and nothing in one that is right."""

import pytest

from tests.crash.history import Done, Recorder, faults, read, replays

BATCH = 3


def history(*steps: tuple[int, int], thread: str = "a") -> list[Done]:
    """Steps of (number, fence), in the order of time; each fence has a worker of its own."""
    return [Done(at, thread, number, fence, f"w{fence}") for at, (number, fence) in enumerate(steps)]


def found(registered: int, *steps: tuple[int, int]) -> list[str]:
    return faults({"a": registered}, history(*steps), BATCH)


RIGHT = {
    "in order": [(0, 1), (1, 1), (2, 1)],
    "handed over": [(0, 1), (1, 1), (2, 2)],
    "crashed in a batch": [(0, 1), (1, 1), (0, 2), (1, 2), (2, 2)],
    "crashed again in the replay": [(0, 1), (1, 1), (0, 2), (0, 3), (1, 3), (2, 3)],
    "overtaken, and ends its batch": [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)],
    "overtaken, and ends its batch after all was done": [(0, 1), (0, 2), (1, 2), (2, 2), (1, 1), (2, 1)],
}
WRONG = {
    "lost at the end": ([(0, 1), (1, 1)], "1 of 3 requests of a are lost, 2 first"),
    "lost in the middle": ([(0, 1), (2, 1)], "are lost, 1 first"),
    "all lost": ([], "3 of 3"),
    "reordered by one worker": ([(1, 1), (0, 1), (2, 1)], "a/1 was done before a/0"),
    "reordered by two workers": ([(0, 1), (2, 2), (1, 1)], "a/2 was done before a/1"),
    "never registered": ([(0, 1), (1, 1), (2, 1), (3, 1)], "a/3 was done and never registered"),
    "done twice under one fence": ([(0, 1), (0, 1), (1, 1), (2, 1)], "not contiguous"),
    "a replay with a gap": ([(0, 1), (1, 1), (2, 1), (0, 2), (2, 2)], "not contiguous"),
    "a fence of two workers": ([(0, 1), (1, 1), (2, 1)], "given to two workers"),
}


@pytest.mark.parametrize("steps", RIGHT.values(), ids=RIGHT)
def test_nothing_is_found_in_a_right_history(steps: list[tuple[int, int]]) -> None:
    assert found(3, *steps) == []


@pytest.mark.parametrize(("steps", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_history_is_found_out(steps: list[tuple[int, int]], sentence: str) -> None:
    wrong = history(*steps)
    if "two workers" in sentence:
        wrong[-1] = wrong[-1]._replace(worker="another")

    assert any(sentence in fault for fault in faults({"a": 3}, wrong, BATCH))


def test_a_replay_of_more_than_a_batch_is_found_out() -> None:
    steps = [(n, 1) for n in range(5)] + [(n, 2) for n in range(5)]

    assert any("replays 5 requests" in fault for fault in found(5, *steps))


def test_a_worker_that_goes_on_after_it_was_overtaken_is_found_out() -> None:
    steps = [(0, 1), (0, 2), *[(n, 1) for n in range(1, 6)], *[(n, 2) for n in range(1, 6)]]

    assert any("did 5 requests after it was overtaken" in fault for fault in found(6, *steps))


def test_threads_are_judged_one_by_one() -> None:
    both = history((0, 1), (1, 1)) + history((1, 1), (0, 1), thread="b")

    assert faults({"a": 2, "b": 2}, both, BATCH)[0].startswith("b/1 was done before b/0")


def test_repetitions_are_counted() -> None:
    assert replays(history((0, 1), (1, 1), (0, 2), (1, 2), (0, 3))) == 3


def test_what_was_recorded_is_read_in_the_order_of_time(tmp_path) -> None:
    first, second = Recorder(tmp_path, "w1"), Recorder(tmp_path, "w2")
    first.done("a", 0, 1)
    second.done("a", 1, 2)
    first.done("a", 2, 3)

    assert [(done.number, done.worker) for done in read(tmp_path)] == [(0, "w1"), (1, "w2"), (2, "w1")]


def test_a_line_cut_short_by_a_crash_does_not_count(tmp_path) -> None:
    (tmp_path / "w1.history").write_text("1 a 0 1 w1\n2 a 1")

    assert [done.number for done in read(tmp_path)] == [0]
