"""What is known of pods: from a watch, from lists, and from their controllers."""

import pytest

from sharded_queue_operator.cluster.pod import ControllerRef
from sharded_queue_operator.cluster.pods import ASK_SECONDS, REFUSED_SECONDS, PodTracker
from tests.unit.sharded_queue_operator.pod_server import (
    FOUR,
    NAME,
    PodServer,
    pod,
    resource,
    tracking,
)

REPLICA_SET = ControllerRef("ReplicaSet", "n-77", "replicas-n")


@pytest.fixture
def server() -> PodServer:
    return PodServer(*(pod(name) for name in "abcd"))


@pytest.fixture
def pods(server: PodServer) -> PodTracker:
    return tracking(server)


async def test_a_list_makes_up_for_missed_news_also_after_the_pods_were_listed(
    pods: PodTracker, server: PodServer
) -> None:
    """Such a resource was once left out of all lists for ever."""
    pods.forget(NAME)
    assert len(await pods.of(resource(), FOUR)) == 4
    del server.pods["b"]
    await pods.replace_all(list(server.pods.values()), "")

    assert {each.name for each in await pods.of(resource(), FOUR._replace(existing=3))} == set("acd")
    assert server.lists == 1


async def test_a_pod_with_our_label_and_another_controller_is_not_ours(pods: PodTracker) -> None:
    pods.keep(pod("stranger", "other"))

    assert {each.name for each in await pods.of(resource(), FOUR)} == set("abcd")


async def test_whose_a_pod_is_is_asked_once_a_minute(
    pods: PodTracker, server: PodServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 pods of strangers with our label were 1,000 GETs in five reconciliations."""
    seconds = [1000.0]
    monkeypatch.setattr("sharded_queue_operator.cluster.pods.monotonic", lambda: seconds[0])
    for number in range(200):
        pods.keep(pod(f"stranger-{number}", f"other-{number}"))

    for _ in range(5):
        assert len(await pods.of(resource(), FOUR)) == 4
    assert server.finds == 201

    seconds[0] += ASK_SECONDS
    await pods.of(resource(), FOUR)
    assert server.finds == 401


async def test_a_replica_set_that_changes_hands_is_noticed(
    pods: PodTracker, server: PodServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a Deployment is deleted without its pods, and made again."""
    seconds = [1000.0]
    monkeypatch.setattr("sharded_queue_operator.cluster.pods.monotonic", lambda: seconds[0])
    anew = FOUR._replace(uid="deployment-anew")
    assert await pods.problems(NAME, FOUR) == []
    server.owner = "deployment-anew"
    seconds[0] += ASK_SECONDS

    assert await pods.is_of(NAME, anew, REPLICA_SET)


async def test_a_refusal_to_say_whose_a_pod_is_is_short(
    pods: PodTracker, server: PodServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [1000.0]
    monkeypatch.setattr("sharded_queue_operator.cluster.pods.monotonic", lambda: seconds[0])
    server.refuses = True
    assert not await pods.is_of(NAME, FOUR, REPLICA_SET)
    server.refuses = False
    assert not await pods.is_of(NAME, FOUR, REPLICA_SET)

    seconds[0] += REFUSED_SECONDS
    assert await pods.is_of(NAME, FOUR, REPLICA_SET)


async def test_replica_sets_whose_pods_are_gone_are_forgotten(pods: PodTracker, server: PodServer) -> None:
    for number in range(200):
        pods.keep(pod(f"stranger-{number}", f"other-{number}"))
    await pods.of(resource(), FOUR)
    await pods.replace_all(list(server.pods.values()), "")

    assert pods._makers[NAME].keys() == {REPLICA_SET.uid}
