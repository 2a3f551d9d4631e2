"""
What the operator is for: drain time × pod-seconds below that of message counts, on each workload, beside
KEDA as it comes, and beside one that polls, cools down and steps as nobody could make it better.
"""

from functools import cache

import pytest

from bench.simulation import compare
from bench.simulation.compare import OURS, RIVALS, Contender
from bench.simulation.targets import TARGETS, Target, to_zero
from bench.simulation.workloads import WORKLOADS, Workload

pytestmark = pytest.mark.slow

NAMED = {workload.name: workload for workload in WORKLOADS}
scored = cache(compare.scored)


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_lanes_cost_less_time_and_pods_than_message_counts(workload: Workload, rival: Contender) -> None:
    ours, theirs = scored(workload, OURS), scored(workload, rival)

    assert ours.drain < theirs.drain
    assert ours.product < theirs.product
    assert ours.product_to_zero < theirs.product_to_zero


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.workload}: {target.name}")
def test_each_target_is_met(target: Target) -> None:
    assert target.measured(scored(NAMED[target.workload], OURS)) <= target.bound


@pytest.mark.parametrize("workload", [each for each in WORKLOADS if not each.span], ids=lambda workload: workload.name)
def test_the_tail_costs_no_more_than_that_of_message_counts(workload: Workload) -> None:
    assert to_zero({contender.name: scored(workload, contender) for contender in (OURS, RIVALS[1])}) <= 1
