"""What is known of pods: from a watch, from lists, and from their controllers."""

import pytest

from sharded_queue_operator.cluster.pods import PodTracker
from tests.unit.sharded_queue_operator.pod_server import (
    FOUR,
    NAME,
    PodServer,
    pod,
    resource,
    tracking,
)


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
