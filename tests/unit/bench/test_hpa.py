"""The rival does what KEDA and the HorizontalPodAutoscaler do: sums worked out by hand from their documentation."""

import pytest

from bench.simulation.hpa import Autoscaler, MessageCount, Settings, newest
from bench.simulation.timeline import Timeline, us
from bench.simulation.world import World

SETTINGS = Settings(threshold=10, max_replicas=20, stabilization_seconds=300)


def synced(messages: int, replicas: int, **settings: object) -> int:
    return Autoscaler(Settings(**settings)).synced(messages, replicas, now=0.0)[1]


@pytest.mark.parametrize(
    ("messages", "replicas", "wish"),
    [
        (41, 4, 4),  # 1.025 of what is wanted: within the tolerance
        (43, 4, 4),  # 1.075: still
        (45, 4, 5),
        (36, 4, 4),
        (35, 4, 4),  # 0.875 is outside, but a fall waits for its window
    ],
)
def test_a_tenth_more_or_less_changes_nothing(messages: int, replicas: int, wish: int) -> None:
    scaler = Autoscaler(SETTINGS, ((-10.0, 4),))

    assert scaler.synced(messages, replicas, now=0.0)[1] == wish


@pytest.mark.parametrize(("replicas", "most"), [(1, 5), (3, 7), (4, 8), (5, 10), (9, 18), (12, 20)])
def test_a_sync_rises_by_four_pods_or_doubles(replicas: int, most: int) -> None:
    assert synced(10_000, replicas) == most


def test_without_steps_a_sync_rises_as_far_as_it_wishes() -> None:
    assert synced(150, 1, is_stepwise=False) == 15
    assert synced(10_000, 1, is_stepwise=False) == 20


def test_it_falls_to_the_highest_wish_of_its_window() -> None:
    scaler = Autoscaler(SETTINGS)
    seen = []
    for now, messages in ((0.0, 100), (15.0, 60), (30.0, 10), (299.0, 10), (301.0, 10), (331.0, 10)):
        replicas = seen[-1] if seen else 10
        scaler, replicas = scaler.synced(messages, replicas, now)
        seen.append(replicas)

    assert seen == [10, 10, 10, 10, 6, 1]


def test_it_keeps_one_pod_and_leaves_none_alone() -> None:
    assert synced(0, 1) == 1
    assert synced(500, 0) == 0


def world_under(rule: MessageCount) -> World:
    world = World(Timeline())
    rule.attend(world)
    return world


def test_the_first_message_makes_one_pod_at_the_next_poll() -> None:
    world = world_under(MessageCount(Settings(polling_seconds=30, sync_seconds=15), phase=0.5))
    world.register({"a": 10_000})

    world.timeline.run(us(14.9))
    assert world.wanted == 0
    world.timeline.run(us(15.1))
    assert world.wanted == 1
    world.timeline.run(us(22.6))  # syncs at 7.5, 22.5 ...
    assert world.wanted == 5


def test_the_last_pod_goes_after_the_cooldown() -> None:
    world = world_under(MessageCount(Settings(polling_seconds=10, cooldown_seconds=100), phase=0.0))
    world.timeline.run(us(1))
    world.register({"a": 1})
    world.timeline.run(us(10))
    assert world.wanted == 1

    world.timeline.run(us(109))  # it was last seen to have a message at 10 s
    assert world.wanted == 1
    world.timeline.run(us(110))
    assert world.wanted == 0


def test_the_newest_pod_goes_though_it_is_busy() -> None:
    world = World(Timeline())
    world.scale(1, newest)
    world.timeline.run(us(2))
    world.scale(2, newest)
    world.timeline.run(us(4))

    assert newest(world, 1) == {"pod-0002"}
