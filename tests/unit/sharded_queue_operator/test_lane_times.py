"""Timelines of the decision, where the lanes of a worker hold each other up, and where they do not."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from sharded_queue.state import Hold, ShardState
from sharded_queue.tube import Shard
from sharded_queue_operator.resource.conditions import Condition, lanes_condition
from sharded_queue_operator.scaling.decide import Decision, decide
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.lane_times import Stall
from sharded_queue_operator.scaling.observation import Observation
from sharded_queue_operator.scaling.policy import Policy

pytestmark = pytest.mark.slow

SHARD, POLICY = Shard("a"), Policy(threads_per_replica=10)
Rate = Callable[[int], float]
"""Requests a second that all workers settle, by the lanes of each that are busy."""


def computing(lanes: int) -> float:
    """A request of 0.2 s; the lanes of a worker share a processor."""
    return 5 if lanes else 0


def partly_computing(lanes: int) -> float:
    """It waits for 0.1 s and computes for 0.1 s."""
    return min(10, 5 * lanes)


def waiting(lanes: int) -> float:
    return 5 * lanes


def timeline(rate: Rate, *, seed: int = 1, minutes: int = 30, workers: int = 1, most: int = 10) -> list[Stall | None]:
    """What is found, second by second, while bursts keep some or all lanes busy."""
    chance, history, settled, found = random.Random(seed), History(), 0.0, []
    lanes = 0
    for now in range(minutes * 60):
        if now % 30 == 0:
            lanes = chance.randrange(most + 1)
        settled += workers * rate(lanes) * chance.uniform(0.5, 1.5)
        history = decide(seen(lanes, workers, int(settled), now), POLICY, history, now).history
        found.append(history.lane_times["a"].stall)
    return found


def seen(lanes: int, workers: int, settled: int, now: float) -> Observation:
    held = [
        Hold(f"t-{worker}-{lane}", f"pod-{worker}#1", 1, 5.0, 15.0, 3)
        for worker in range(workers)
        for lane in range(lanes)
    ]
    count = len(held)
    state = ShardState(SHARD, 9 * count, count, bound=count, held=held, settled=settled, busy_seconds=settled, born=1)
    return Observation(workers, [state], read_at=now)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_handler_that_computes_has_one_useful_lane(workers: int) -> None:
    stall = timeline(computing, workers=workers)[-1]

    assert stall
    assert stall.useful == 1
    assert stall.seconds == pytest.approx(stall.busy * 0.2, rel=0.25)


def test_it_is_found_within_ten_minutes() -> None:
    assert timeline(computing, minutes=10)[-1]


def test_a_handler_that_waits_as_long_as_it_computes_has_two_at_most() -> None:
    stall = timeline(partly_computing)[-1]

    assert stall
    assert stall.useful <= 2


@pytest.mark.parametrize("seed", range(3))
def test_lanes_that_wait_hold_nobody_up(seed: int) -> None:
    assert not any(timeline(waiting, seed=seed))


@pytest.mark.parametrize("seed", range(3))
def test_chance_is_not_taken_for_a_stall(seed: int) -> None:
    """Short requests: what a reading shows of the lanes says little of the second before."""
    chance, history, settled = random.Random(seed), History(), 0
    for now in range(1800):
        settled += 25
        history = decide(seen(chance.randrange(11), 1, settled, now), POLICY, history, now).history
        assert history.lane_times["a"].stall is None


def test_lanes_that_are_always_busy_say_nothing() -> None:
    """With the same number all the time, nobody knows what a request takes with another one."""
    history = History()
    for now in range(1800):
        history = decide(seen(10, 1, 5 * now, now), POLICY, history, now).history

    assert history.lane_times["a"].stall is None


def test_what_was_found_stays_while_the_lanes_say_nothing_new() -> None:
    history = History()
    for now in range(1800):
        history = decide(seen(1 + 9 * (now % 120 < 60), 1, 5 * now, now), POLICY, history, now).history
    for now in range(1800, 3600):
        history = decide(seen(10, 1, 5 * now, now), POLICY, history, now).history

    assert history.lane_times["a"].stall


# What workers tell


def wish(concurrencies: list[int]) -> Decision:
    """Of twenty threads of endless work."""
    deepest = [(f"t{number}", 1000) for number in range(20)]
    state = ShardState(SHARD, 20_000, 20, ready=20, deepest=deepest, born=1, concurrencies=concurrencies)
    return decide(Observation(0, [state], read_at=0), replace(POLICY, max_replicas=50), History(), 0)


def test_lanes_that_workers_have_not_are_not_counted_on() -> None:
    assert [wish(told).replicas for told in ([], [10], [1], [1, 4], [50])] == [2, 2, 20, 5, 2]


def condition(concurrencies: list[int], *, is_rolling: bool = False, **stalls: Stall) -> Condition:
    state = ShardState(SHARD, concurrencies=concurrencies)
    return lanes_condition(Observation(1, [state]), POLICY, stalls, is_rolling=is_rolling)


def test_another_concurrency_than_that_of_the_spec_is_reported_with_the_number_to_set() -> None:
    found = condition([1])

    assert (found.status, found.reason) == ("True", "ConcurrencyDiffers")
    assert "workers hold 1 threads at a time" in found.message
    assert "threadsPerReplica is 10: set it to 1, or the concurrency to 10" in found.message


def test_workers_of_two_releases_differ() -> None:
    assert condition([1], is_rolling=True).status == "False"
    assert condition([1, 10]).status == "False"
    assert condition([]).status == "False"


def test_lanes_that_stall_are_reported_with_the_number_to_set() -> None:
    found = condition([10], a=Stall(10, 2.0, 0.2))

    assert (found.status, found.reason) == ("True", "LanesStall")
    assert found.message.startswith("a request of a takes 2 s with 10 lanes of a worker busy, and 0.2 s with one")
    assert "set spec.scaling.threadsPerReplica to 1," in found.message


def test_lanes_that_nobody_counts_on_may_stall() -> None:
    """The number was set, and what was found before says nothing of it."""
    state = ShardState(SHARD, concurrencies=[1])
    policy = replace(POLICY, threads_per_replica=1)
    found = lanes_condition(Observation(1, [state]), policy, {"a": Stall(10, 2.0, 0.2)}, is_rolling=False)

    assert found.status == "False"
