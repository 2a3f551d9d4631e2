"""Which pods go when there are to be fewer workers."""

from typing import Any

from sharded_queue_operator.cluster.pod import COST, OWN_COST, Pod
from sharded_queue_operator.cluster.victims import VICTIM_COST, costs, victims


def pod(name: str, created: int = 0, **fields: Any) -> Pod:
    return Pod(name, f"2026-01-01T00:00:{created:02}Z", **fields)


FOUR = [pod(name, created) for created, name in enumerate("abcd")]


def test_idle_workers_go_before_those_that_hold_threads() -> None:
    assert victims(FOUR, dict.fromkeys("cd", 1), 2) == {"a", "b"}


def test_of_idle_workers_the_newest_go() -> None:
    assert victims(FOUR, dict.fromkeys("b", 1), 2) == {"c", "d"}


def test_when_idle_ones_do_not_suffice_the_newest_holder_goes() -> None:
    assert victims(FOUR, dict.fromkeys("abcd", 1), 3) == {"d"}


def test_of_workers_that_hold_threads_those_with_the_fewest_go() -> None:
    assert victims(FOUR, {"a": 1, "b": 3, "c": 2, "d": 4}, 2) == {"a", "c"}


def test_pods_that_are_not_ready_go_first_as_the_replica_set_takes_them_anyway() -> None:
    assert victims([*FOUR, pod("e", progress=1), pod("f", progress=2)], {}, 5) == {"e"}


def test_pods_that_leave_already_are_counted_neither_way() -> None:
    assert victims([*FOUR, pod("e", is_leaving=True)], {}, 3) == {"d"}


def test_without_fewer_replicas_no_pod_goes() -> None:
    assert victims(FOUR, {}, 4) == victims(FOUR, {}, 9) == set()


def test_only_costs_that_change_are_written() -> None:
    pods = [pod("a", cost=VICTIM_COST), pod("b", cost=VICTIM_COST), pod("c"), pod("d", cost="7")]

    marked, unmarked = {COST: VICTIM_COST, OWN_COST: None}, {COST: None, OWN_COST: None}
    assert costs(pods, {"a", "c"}) == {"b": unmarked, "c": marked}
    assert costs([pod("a", cost=VICTIM_COST), pod("d", cost="7")], {"a"}) == {}


def test_a_cost_that_its_author_gave_is_given_back() -> None:
    """It was once replaced by 0 for good."""
    (marked,) = costs([pod("a", cost="100")], {"a"}).values()
    assert marked == {COST: VICTIM_COST, OWN_COST: "100"}

    victim = pod("a", cost=marked[COST], own_cost=marked[OWN_COST])
    assert costs([victim], set()) == {"a": {COST: "100", OWN_COST: None}}
