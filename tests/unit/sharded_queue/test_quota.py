"""A limit holds for all lanes together, whatever they reserve and give back."""

from sharded_queue.worker.quota import Quota


def test_without_a_limit_all_that_is_wanted_is_reserved() -> None:
    quota = Quota()

    assert [quota.reserve(128), quota.reserve_each(128, 50), quota.threads(7)] == [128, 128, 7]
    assert not quota.is_limited
    assert not quota.is_reserved
    assert not quota.is_used_up


def test_no_more_than_the_limit_is_ever_reserved() -> None:
    quota = Quota(10)

    assert quota.reserve_each(4, 2) == 4
    assert quota.reserve(4) == 2
    assert quota.reserve(4) == 0
    assert quota.threads(7) == 0


def test_what_is_reserved_is_shared_equally_by_threads() -> None:
    quota = Quota(10)

    assert quota.reserve_each(128, 3) == 3
    assert quota.reserve(128) == 1


def test_a_quota_is_used_up_when_its_limit_was_handled() -> None:
    quota = Quota(3)
    assert quota.reserve(2) == 2
    quota.note_handled(2)

    assert not quota.is_used_up
    assert not quota.is_reserved

    assert quota.reserve(2) == 1
    assert quota.is_reserved
    quota.note_handled(1)

    assert quota.is_used_up


def test_what_was_not_handed_out_can_be_reserved_again() -> None:
    quota = Quota(3)
    quota.reserve(3)
    quota.give_back(2)

    assert quota.threads(7) == 2
    assert quota.reserve(9) == 2
