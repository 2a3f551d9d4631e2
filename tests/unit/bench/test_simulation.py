"""The simulated world keeps the engine's promises, and cases that can be worked out by hand come out as by hand."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulation.hpa import newest
from bench.simulation.lanes import Lanes, observed
from bench.simulation.run import simulated
from bench.simulation.timeline import SECOND, Timeline, us
from bench.simulation.workloads import WORKLOADS, at_once, zipf
from bench.simulation.world import Costs, Pod, Thread, World
from sharded_queue.state import Hold
from sharded_queue_operator.scaling.policy import Policy

COSTS = Costs(request=0.1, bind=0.01, start=1.0, start_cpu=0.0, batch=10)


class Fixed:
    """So many pods from the beginning, none when all is handled."""

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas

    def attend(self, world: World) -> None:
        world.scale(self.replicas, newest)
        world.timeline.every(SECOND, lambda: self.look(world), first=SECOND)

    def look(self, world: World) -> None:
        if world.depth == 0 and world.wanted:
            world.scale(0, newest)


class Whimsical:
    """Another number of pods each 300 ms."""

    def __init__(self, replicas: list[int]) -> None:
        self.replicas = [*replicas, 3]

    def attend(self, world: World) -> None:
        for number, replicas in enumerate(self.replicas):
            world.timeline.after(us(0.3 * number), lambda replicas=replicas: world.scale(replicas, newest))
        world.timeline.every(SECOND, lambda: self.end(world), first=us(0.3 * len(self.replicas)))

    def end(self, world: World) -> None:
        if world.depth == 0 and world.wanted:
            world.scale(0, newest)


def test_events_happen_in_order_of_time_and_then_of_planning() -> None:
    timeline, seen = Timeline(), []
    for delay, name in ((5, "c"), (0, "a"), (5, "d"), (1, "b")):
        timeline.after(delay, lambda name=name: seen.append((timeline.now, name)))
    timeline.run(until=10)

    assert seen == [(0, "a"), (1, "b"), (5, "c"), (5, "d")]
    assert timeline.now == 10


def test_an_event_in_the_past_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 0 or more"):
        Timeline().after(-1, lambda: None)


def test_one_thread_takes_its_start_its_bind_and_its_requests() -> None:
    """1 + 0.01 + 25 × 0.1 s; the pod is told at 4 s that it may go."""
    outcome = simulated(at_once("one", "", [25]), Fixed(1), COSTS)

    assert outcome.drain == pytest.approx(3.51)
    assert outcome.pod_seconds == pytest.approx(3.51)
    assert outcome.to_zero == pytest.approx(4.0)


def test_a_thread_is_not_shared_by_idle_workers() -> None:
    outcome = simulated(at_once("one", "", [25]), Fixed(3), COSTS)

    assert outcome.drain == pytest.approx(3.51)
    assert outcome.pod_seconds == pytest.approx(3 * 3.51)


def test_two_workers_share_three_threads() -> None:
    """Two begin at once; the third is bound when the first ends: 1 + (0.01 + 0.5) + (0.01 + 0.5) s."""
    assert simulated(at_once("three", "", [5, 5, 5]), Fixed(2), COSTS).drain == pytest.approx(2.02)


def test_a_turn_ends_while_others_wait() -> None:
    """A deep thread gives its only worker up after the first batch that ends later than 30 s."""
    world = World(Timeline(), COSTS)
    world.scale(1, newest)
    world.register({"deep": 1_000})
    world.timeline.after(us(2), lambda: world.register({"single": 1}))
    world.timeline.run(us(60))

    # bound at 1 s, batches end at 2.01, 3.01, ...: at 31.01 its 30 s are over, then 0.01 + 0.1 for the other
    assert world.threads["single"].drained_at == us(31.12)


def test_a_worker_that_leaves_finishes_its_batch_and_no_more() -> None:
    world = World(Timeline(), COSTS)
    world.scale(1, newest)
    world.register({"deep": 100})
    world.timeline.run(us(1.5))
    world.scale(0, newest)
    assert len(world.pods) == 1
    world.timeline.run(us(10))

    assert (world.settled, world.pods) == (10, {})
    assert world.pod_seconds(us(10)) == pytest.approx(2.01)


def test_a_pod_that_goes_before_it_is_up_takes_no_thread() -> None:
    world = World(Timeline(), COSTS)
    world.scale(1, newest)
    world.register({"a": 1})
    world.timeline.run(us(0.5))
    world.scale(0, newest)
    world.timeline.run(us(5))

    assert (world.settled, world.pod_seconds(us(5))) == (0, pytest.approx(0.5))


def test_pods_that_start_together_share_the_processors() -> None:
    """Each of eight has a quarter of two processors: 0.4 s of computing take 1.6 s, beside 0.6 s of waiting."""
    world = World(Timeline(), replace(COSTS, start=1.0, start_cpu=0.4, cores=2))
    world.scale(2, newest)
    world.timeline.run(us(1.0))
    together = [pod.is_up for pod in world.pods.values()]
    world.scale(10, newest)
    world.timeline.run(us(3.19))
    early = sum(pod.is_up for pod in world.pods.values())
    world.timeline.run(us(3.2))

    assert together == [True, True]
    assert (early, sum(pod.is_up for pod in world.pods.values())) == (2, 10)


def test_the_rise_and_when_all_were_served_are_told() -> None:
    """Two pods bind two threads after 1 s, and the third when the first is drained, 0.01 + 0.5 s later."""
    outcome = simulated(at_once("three", "", [5, 5, 5]), Fixed(2), COSTS)

    assert outcome.rise == 0.0
    assert outcome.served == pytest.approx(1.51)


def test_two_workers_for_one_thread_are_an_error() -> None:
    world = World(Timeline(), COSTS)
    world.register({"a": 10})
    world.bind(Pod("pod-1", 0), world.threads["a"])

    with pytest.raises(RuntimeError, match="is in the way"):
        world.bind(Pod("pod-2", 0), world.threads["a"])


@settings(max_examples=60, deadline=None)
@given(
    depths=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    replicas=st.lists(st.integers(0, 6), max_size=20),
    request=st.sampled_from([1e-6, 0.003, 0.0333333, 0.7]),
)
def test_every_request_is_settled_once_whatever_happens_to_the_pods(
    depths: list[int], replicas: list[int], request: float
) -> None:
    world = World(Timeline(), Costs(request=request, bind=1e-6, start=0.25, batch=7))
    Whimsical(replicas).attend(world)
    at_once("any", "", depths).begin(world)
    world.timeline.run(us(3_600), lambda: world.depth == 0)

    assert world.settled == world.registered == sum(depths)
    assert world.busy == sum(depths) * us(request)
    assert all(thread.depth == 0 and thread.drained_at is not None for thread in world.threads.values())


def test_what_a_poll_sees_is_what_there_is() -> None:
    world = World(Timeline(), COSTS)
    world.scale(1, newest)
    world.register({"a": 25, "b": 1, "c": 7})
    world.timeline.run(us(2.5))
    seen = observed(world, listed=1)

    assert (seen.depth, seen.threads, seen.ready, seen.bound) == (23, 3, 2, 1)
    assert seen.deepest == [("a", 15)]
    assert seen.held == [Hold("a", "pod-0001/simulated", 1, 1.5, in_hand=10)]
    assert [(lag.thread, lag.lag_seconds) for lag in seen.oldest] == [("a", 2.5)]
    assert (seen.settled, seen.busy_seconds) == (10, pytest.approx(1.0))


def test_requests_are_taken_from_the_head() -> None:
    thread = Thread("a")
    thread.arrivals.extend([(10, 3), (20, 4)])
    thread.take(5)

    assert (thread.depth, thread.oldest) == (2, 20)


def test_a_refilled_thread_is_as_deep_as_before() -> None:
    world = World(Timeline(), COSTS)
    world.scale(1, newest)
    world.register({"fed": 5}, refill=True)
    world.timeline.run(us(20))

    assert (world.depth, world.settled % 5) == (5, 0)
    assert world.settled > 150


def test_the_shares_of_zipf_add_up() -> None:
    depths = zipf(3_000, 1.1)

    assert sum(depths) == 3_000
    assert (depths[0], min(depths)) == (701, 4)  # 3,000 / 4.278, and a 158th of it


def test_a_simulation_repeats_itself() -> None:
    first, second = (simulated(WORKLOADS[1], Fixed(4)) for _ in range(2))

    assert first == second


def test_a_pod_that_is_stopped_cuts_what_takes_longer_than_its_grace() -> None:
    """The request begins anew elsewhere, and is handled once."""
    world = World(Timeline(), replace(COSTS, request=60.0))
    world.register({"a": 1})
    world.scale(1, newest)
    world.timeline.run(us(10))
    world.scale(0, newest)
    world.scale(1, newest)
    world.timeline.run(us(200))

    assert (world.cut, world.settled, world.depth) == (1, 1, 0)


def test_the_scale_down_of_the_operator_cuts_nothing() -> None:
    """Eight requests of a minute and more in workers with room for ten each: those that are surplus finish theirs."""
    world = World(Timeline(), replace(COSTS, request=200.0), lanes=10)
    world.scale(8, newest)
    world.timeline.run(us(5))
    Lanes(Policy(max_replicas=8, threads_per_replica=10)).attend(world)
    world.register({f"t{number}": 1 for number in range(8)})
    world.timeline.run(us(100))
    cordoned = sum(pod.is_cordoned for pod in world.pods.values())
    world.timeline.run(us(900))

    assert cordoned == 7
    assert (world.cut, world.settled, world.wanted) == (0, 8, 0)
