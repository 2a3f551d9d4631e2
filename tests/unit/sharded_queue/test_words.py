"""What is said of a thread that only a rare moment shows."""

from math import inf

import pytest

from sharded_queue.admin.words import exhausted_words, judge_thread
from sharded_queue.state import Exhausted, ThreadState, TubeState


def test_a_suspect_that_waits_for_its_turn_is_not_about_to_be_tried() -> None:
    """It is given back for a moment again and again, while its worker tries another one."""
    state = ThreadState("7", [TubeState(0, 3, 12.0, crashes=2)], blocked_seconds=0.2)
    assert judge_thread(state).text == (
        "thread 7 is blocked: 2 workers died or hung while handling it; it waits until a worker can try it alone, and "
        "is looked at again in 0.20 s"
    )


def test_one_that_failed_as_well_backs_off() -> None:
    state = ThreadState("7", [TubeState(0, 3, 12.0, attempts=1, crashes=2, error="E")], blocked_seconds=3.0)
    assert judge_thread(state).text == "thread 7 is blocked: its next try (4th) is due in 3.00 s, last: E"


@pytest.mark.parametrize(
    ("attempts", "crashes", "said"),
    [
        (1, 0, "its first request failed 1 time, last: E"),
        (3, 0, "its first request failed 3 times, last: E"),
        (2, 1, "its first request failed 2 times and killed 1 worker, last: E"),
        (0, 5, "its first request has no try left: E"),
    ],
)
def test_an_exhausted_thread_says_how_its_tries_were_used_up(attempts: int, crashes: int, said: str) -> None:
    words = exhausted_words(Exhausted("7", 0, 1_700_000_000_000, attempts, crashes, "E"))
    assert words == f"{said}; it stands still since 2023-11-14T22:13:20Z"


def test_a_pause_beside_a_stop_names_both() -> None:
    exhausted = Exhausted("7", 0, 1_700_000_000_000, 3, 0, "E")
    state = ThreadState("7", [TubeState(0, 3, 12.0, 3, 0, "E")], blocked_seconds=inf, exhausted=exhausted)
    said = judge_thread(state).text
    assert said.startswith(
        "thread 7 is paused; `sharded-queue resume` resumes it; beside that, its first request failed 3"
    )
