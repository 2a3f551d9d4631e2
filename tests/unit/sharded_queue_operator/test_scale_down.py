"""Fewer workers: first cordoned, then marked, then lowered."""

from dataclasses import replace
from typing import Any

import pytest

from sharded_queue.state import Hold
from sharded_queue_operator.cluster.pods import PodTracker
from sharded_queue_operator.cluster.victims import VICTIM_COST
from sharded_queue_operator.controller.scale_down import CORDON_SECONDS, ROUNDS, ScaleDown
from sharded_queue_operator.resource.name import Name
from tests.unit.sharded_queue_operator.pod_server import (
    FOUR,
    NAME,
    PodServer,
    RecordingCoordinator,
    pod,
    resource,
    seen,
)


@pytest.fixture
def scale_down(pods: PodTracker, coordinator: RecordingCoordinator) -> ScaleDown:
    async def find_coordinator(_: Name) -> Any:
        return coordinator

    return ScaleDown(pods, find_coordinator)


async def test_victims_are_cordoned_first_and_marked_at_the_next_reading(
    scale_down: ScaleDown, coordinator: RecordingCoordinator, pod_server: PodServer
) -> None:
    assert not await scale_down.prepare(resource(), FOUR, seen("a", "b"), 2)
    assert coordinator.cordoned == [(["c", "d"], CORDON_SECONDS)]
    assert pod_server.costs == {}

    assert await scale_down.prepare(resource(), FOUR, seen("a", "b"), 2)
    assert pod_server.costs == {"c": VICTIM_COST, "d": VICTIM_COST}


async def test_a_reading_from_before_the_cordon_does_not_count(scale_down: ScaleDown, pod_server: PodServer) -> None:
    early = seen("a", "b")
    assert not await scale_down.prepare(resource(), FOUR, early, 2)

    assert not await scale_down.prepare(resource(), FOUR, early, 2)
    assert pod_server.costs == {}


async def test_a_worker_that_took_a_thread_meanwhile_is_uncordoned_and_another_goes(
    scale_down: ScaleDown, coordinator: RecordingCoordinator, pod_server: PodServer
) -> None:
    await scale_down.prepare(resource(), FOUR, seen("a", "b"), 3)
    (first, _) = coordinator.cordoned[0]
    assert not await scale_down.prepare(resource(), FOUR, seen("a", "b", *first), 3)

    (other,) = {"c", "d"} - set(first)
    assert coordinator.cordoned[1:] == [([other], CORDON_SECONDS), (first, 0)]
    assert await scale_down.prepare(resource(), FOUR, seen("a", "b", *first), 3)
    assert pod_server.costs == {other: VICTIM_COST}


async def test_the_choice_of_victims_ends(scale_down: ScaleDown) -> None:
    """Workers that are always just about to take a thread cannot keep the replicas up for ever."""
    holders = [("c", "d"), ("a", "b"), ("c", "d"), ("a", "b")]
    answers = [await scale_down.prepare(resource(), FOUR, seen(*busy), 2) for busy in holders]

    assert answers == [False] * ROUNDS + [True]


async def test_workers_that_were_cordoned_for_nothing_are_uncordoned_once(
    scale_down: ScaleDown, coordinator: RecordingCoordinator
) -> None:
    await scale_down.prepare(resource(), FOUR, seen("a", "b"), 2)
    await scale_down.uncordon(resource())
    await scale_down.uncordon(resource())

    assert coordinator.cordoned[1:] == [(["c", "d"], 0)]


async def test_without_redis_an_order_to_lower_is_followed_at_once(
    scale_down: ScaleDown, coordinator: RecordingCoordinator
) -> None:
    coordinator.is_away = True

    assert await scale_down.prepare(resource(), FOUR, seen(), 0)


async def test_without_rights_on_pods_the_replicas_fall_all_the_same(
    scale_down: ScaleDown, pod_server: PodServer, pods: PodTracker
) -> None:
    pod_server.refuses = True
    pods.forget(NAME)

    assert await scale_down.prepare(resource(), FOUR, seen(), 2)


async def test_pods_of_the_users_deployment_are_found_by_its_selector(
    scale_down: ScaleDown, pod_server: PodServer
) -> None:
    pod_server.pods = {name: pod(name, "mine") for name in "wxyz"} | {"a": pod("a")}
    mine, workload = resource(scaleTargetRef={"name": "mine"}), FOUR._replace(uid="deployment-mine")

    await scale_down.prepare(mine, workload, seen("y"), 1)
    assert await scale_down.prepare(mine, workload, seen("y"), 1)
    assert pod_server.costs == dict.fromkeys("wxz", VICTIM_COST)


async def test_the_highest_ordinals_of_a_stateful_set_are_cordoned_and_go(
    scale_down: ScaleDown, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    """They once went without a cordon: each could take a thread as it was stopped."""
    names = [f"w-{number}" for number in range(4)]
    pod_server.pods = {name: pod(name, kind="StatefulSet") for name in names}
    theirs, workload = resource(scaleTargetRef={"name": "n", "kind": "StatefulSet"}), FOUR._replace(uid="set-n")

    assert not await scale_down.prepare(theirs, workload, seen("w-3"), 2)
    assert coordinator.cordoned == [(["w-2", "w-3"], CORDON_SECONDS)]
    assert await scale_down.prepare(theirs, workload, seen("w-3"), 2)
    assert pod_server.costs == {}


async def test_a_worker_that_bears_the_bare_name_of_its_pod_is_busy_too(
    scale_down: ScaleDown, coordinator: RecordingCoordinator
) -> None:
    """Workers of earlier versions do, until their Deployments are rolled out anew."""
    early = seen()
    (state,) = early.shards
    old = [Hold("t", "d/f00d", 1, 1.0), Hold("u", "c/f00d", 1, 1.0)]
    await scale_down.prepare(resource(), FOUR, replace(early, shards=[replace(state, held=old)]), 2)

    assert coordinator.cordoned == [(["a", "b"], CORDON_SECONDS)]
