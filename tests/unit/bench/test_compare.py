"""
What the operator is for: drain time × pod-seconds below that of message counts, on each of the five workloads, beside
KEDA as it comes, and beside one that polls, cools down and steps as nobody could make it better.
"""

from functools import cache

import pytest

from bench.simulation import compare
from bench.simulation.compare import OURS, RIVALS, Contender
from bench.simulation.workloads import WORKLOADS, Workload

scored = cache(compare.scored)


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_lanes_cost_less_time_and_pods_than_message_counts(workload: Workload, rival: Contender) -> None:
    ours, theirs = scored(workload, OURS), scored(workload, rival)

    assert ours.drain < theirs.drain
    assert ours.product < theirs.product
    assert ours.product_to_zero < theirs.product_to_zero
