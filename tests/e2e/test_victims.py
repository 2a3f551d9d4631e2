"""Which pods go when there are to be fewer, on a real cluster."""

from typing import Any

import pytest

from tests.e2e.conftest import Chain, pod_of
from tests.operator_api.conftest import Operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

PODS = 8
SCALING = {"maxReplicas": PODS, "targetDrainSeconds": 5, "scaleDownStabilizationSeconds": 5}
LONG = {7: 160, 1: 800, 2: 800}
"""Requests by thread: 16 s of handling each, in batches of 64 that take 6.4 s and 1.3 s."""

SHORT = dict.fromkeys(range(10, 20), 20)
ENV = {"QUEUE_WORKER_BATCH_SIZE": "64"}


def notifications(threads: dict[int, int]) -> list[Any]:
    from notifications import NotifyRequest

    users = [thread for thread, each in threads.items() for _ in range(each)]
    return [NotifyRequest(user_id=user, number=number) for number, user in enumerate(users)]


def busy_pods(chain: Chain) -> set[str]:
    return {pod_of(hold.owner) for hold in chain.holds().values() if hold.busy_seconds > 0}


def staying_pods(chain: Chain) -> set[str]:
    return {pod["metadata"]["name"] for pod in chain.pods() if "deletionTimestamp" not in pod["metadata"]}


def begun(chain: Chain) -> set[str]:
    """Eight pods were needed and three are left that have anything to do; their names."""
    chain.apply(seconds_per_request=1, scaling=SCALING, env=ENV)
    chain.deployment(lambda it: it["spec"]["replicas"] == 0)
    chain.register(notifications(LONG | SHORT))
    chain.deployment(lambda it: it["status"].get("readyReplicas") == PODS, seconds=60)
    until(lambda: set(chain.holds()) == {str(thread) for thread in LONG}, "the long threads are left", 60)
    return busy_pods(chain)


def test_idle_pods_go_and_busy_ones_finish_what_they_have(chain: Chain, operator: Operator) -> None:
    """Left alone, the ReplicaSet would take the youngest pods, whatever they do."""
    busy = begun(chain)
    assert len(busy) == len(LONG)

    chain.deployment(lambda it: it["spec"]["replicas"] == len(LONG), seconds=60)
    until(lambda: len(staying_pods(chain)) == len(LONG), "the ReplicaSet took pods away")
    assert staying_pods(chain) == busy_pods(chain) == busy
    chain.wait_until_drained(seconds=90)
    assert chain.handled() == chain.registered
