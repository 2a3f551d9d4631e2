"""How a ReplicaSet is told which pods go when there are to be fewer workers."""

from typing import Any

from sharded_queue_operator.cluster.pod import COST, OWN_COST, Pod
from sharded_queue_operator.cluster.victims import VICTIM_COST, costs


def pod(name: str, created: int = 0, **fields: Any) -> Pod:
    return Pod(name, f"2026-01-01T00:00:{created:02}Z", **fields)


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
