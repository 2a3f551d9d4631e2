"""The check of order, by journals."""

from sharded_queue_operator.local.order_check import Verdict, check_order


def journal(*lines: str) -> list[str]:
    return [f"{line[0]}/0 {line[1:]}" for line in lines]


REGISTERED = journal("a1", "b1", "a2", "b2", "a3")


def test_order_is_kept_when_each_tube_keeps_its_own() -> None:
    verdict = check_order(REGISTERED, journal("b1", "b2", "a1", "a2", "a3"))

    assert verdict == Verdict(5, 5, tubes=2, duplicates=0, missing=0, unregistered=0, breach=None)


def test_a_request_before_an_earlier_one_is_a_breach() -> None:
    verdict = check_order(REGISTERED, journal("a1", "a3", "a2", "b1", "b2"))

    assert verdict.breach == "a/0 2 was handled after a/0 3, which was registered later"


def test_a_replay_is_not_a_breach_but_counted() -> None:
    verdict = check_order(REGISTERED, journal("a1", "a2", "a1", "a2", "a3", "b1", "b2"))

    assert (verdict.breach, verdict.duplicates, verdict.missing) == (None, 2, 0)


def test_what_is_missing_and_what_was_never_registered_is_counted() -> None:
    verdict = check_order(REGISTERED, journal("a1", "a3", "c1", "b1"))

    assert (verdict.breach, verdict.missing, verdict.unregistered) == (None, 2, 1)
