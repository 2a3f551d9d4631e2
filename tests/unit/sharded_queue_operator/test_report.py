"""Whether a session came to what was promised."""

import pytest

from sharded_queue_operator.local.order_check import Verdict, check_order
from sharded_queue_operator.local.report import Outcome
from tests.unit.sharded_queue_operator.test_order_check import REGISTERED, journal


def outcome(verdict: Verdict | None, *, waiting: int = 0, dead: int = 0) -> Outcome:
    return Outcome("n", 5, dead, waiting, 1.0, 1, 1.0, verdict)


def test_missing_requests_are_lost_unless_they_wait_or_died() -> None:
    verdict = check_order(REGISTERED, journal("a1", "a3", "b1"))

    assert outcome(verdict).lost == 2
    assert outcome(verdict, waiting=1, dead=1).lost == 0


@pytest.mark.parametrize(
    "handled", [journal("a2", "a1", "a3", "b1", "b2"), journal("a1"), journal("a1", "a2", "a3", "b1", "b2", "c1")]
)
def test_a_broken_promise_is_a_failure(handled: list[str]) -> None:
    assert not outcome(check_order(REGISTERED, handled)).is_as_promised
    assert outcome(check_order(REGISTERED, REGISTERED)).is_as_promised
