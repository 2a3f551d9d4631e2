"""A subject that does not fit one line of `git log` is refused before it is committed."""

import pytest

from tools.commit_subject import fault

GOOD = [
    "Name the pool of lanes",
    "x" * 72,
    "Name the pool\n\nA pool is what it is.\n",
    "Name the pool\n# a comment of git\n",
]


@pytest.mark.parametrize("message", GOOD)
def test_a_short_subject_is_taken(message: str) -> None:
    assert fault(message) is None


def test_a_long_subject_is_refused_with_its_length() -> None:
    assert fault("x" * 73 + "\n\nwhy") == f"the subject has 73 characters; the most is 72: {'x' * 73}"


def test_a_subject_that_runs_into_the_body_is_refused() -> None:
    assert fault("Name the pool\nof lanes") == "leave the line after the subject empty"
