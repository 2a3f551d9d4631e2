"""What the pods of a drain come to: sums worked out by hand."""

import pytest

from bench.operator.drain_cost import Drain, summed
from bench.operator.harness import Sighting


def sighting(at: float, name: str, *, is_gone: bool = False) -> Sighting:
    return Sighting(at, "Pod", name, is_gone, {})


def test_a_pod_counts_from_when_it_is_there_until_it_is_gone_or_the_queue_is_drained() -> None:
    sightings = [
        sighting(101, "q-worker-a"),
        sighting(102, "q-worker-b"),
        sighting(103, "q-worker-a"),
        sighting(104, "q-worker-a", is_gone=True),
        sighting(105, "q-worker-c"),
        sighting(111, "q-worker-b", is_gone=True),
    ]

    assert summed(sightings, "q-worker-", began=100, first=103, ended=110) == Drain(10, 2, 3 + 8 + 5, 3, 1)


def test_pods_of_other_queues_and_those_that_come_too_late_do_not_count() -> None:
    sightings = [sighting(101, "q-worker-a"), sighting(101, "p-worker-a"), sighting(110.5, "q-worker-b")]

    assert summed(sightings, "q-worker-", began=100, first=102, ended=110) == Drain(10, 1, pytest.approx(9), 2, 0)
