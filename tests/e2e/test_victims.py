"""Which pods go when there are to be fewer, on a real cluster."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import Chain, condition, pod_of
from tools.operator_process import Operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

PODS = 8
SCALING = {"maxReplicas": PODS, "threadsPerReplica": 1, "targetDrainSeconds": 5, "scaleDownStabilizationSeconds": 5}
LONG = {7: 20, 1: 100, 2: 100}
"""Requests by thread: those that are held until the test has seen who goes."""

SHORT = dict.fromkeys(range(10, 20), 20)
UNTIL_ALL_ARE_UP = range(10, 10 + PODS - len(LONG))
"""Threads that keep the other pods busy until all eight are there."""

ENV = {"QUEUE_WORKER_BATCH_SIZE": "64"}


def notifications(threads: dict[int, int]) -> list[Any]:
    """The first of each thread that is to be held has a negative number."""
    from notifications import NotifyRequest

    users = [thread for thread, each in threads.items() for _ in range(each)]
    held = {users.index(thread) for thread in (*LONG, *UNTIL_ALL_ARE_UP) if thread in threads}
    numbers = [-number - 1 if number in held else number + 1 for number in range(len(users))]
    return [NotifyRequest(user_id=user, number=number) for user, number in zip(users, numbers, strict=True)]


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
    until(lambda: len(busy_pods(chain)) == PODS, "each pod holds a thread", 60)
    chain.open_threads(*UNTIL_ALL_ARE_UP)
    until(lambda: set(chain.holds()) == {str(thread) for thread in LONG}, "the long threads are left", 60)
    return busy_pods(chain)


def test_idle_pods_go_and_busy_ones_finish_what_they_have(chain: Chain, operator: Operator) -> None:
    """Left alone, the ReplicaSet would take the youngest pods, whatever they do."""
    busy = begun(chain)
    assert len(busy) == len(LONG)

    chain.deployment(lambda it: it["spec"]["replicas"] == len(LONG), seconds=60)
    until(lambda: len(staying_pods(chain)) == len(LONG), "the ReplicaSet took pods away")
    assert staying_pods(chain) == busy_pods(chain) == busy
    chain.open_threads(*LONG)
    chain.wait_until_drained(seconds=90)
    assert chain.handled() == chain.registered


def test_a_request_longer_than_the_drain_survives_a_scale_down(chain: Chain, operator: Operator) -> None:
    """With ten lanes a pod, one pod has room for all that is left; the others were once stopped with it in hand."""
    one_lane = {**SCALING, "maxReplicas": 3}
    chain.apply(seconds_per_request=5, scaling=one_lane, env={"QUEUE_WORKER_DRAIN": "1"})
    chain.deployment(lambda it: it["spec"]["replicas"] == 0)
    chain.register(notifications(dict.fromkeys(LONG, 1)))
    until(lambda: len(busy_pods(chain)) == len(LONG), "each pod holds a thread", 60)
    busy = busy_pods(chain)
    lanes = {"spec": {"scaling": {**one_lane, "maxReplicas": 1}}}
    chain.kubectl("patch", "shq", "notifications", "--type=merge", f"--patch={json.dumps(lanes)}")

    chain.queue(lambda it: condition(it, "ScaleDownWaits")["reason"] == "FinishingRequests")
    assert chain.queue(lambda it: it["status"]["desiredReplicas"] == len(LONG))
    assert staying_pods(chain) == busy_pods(chain) == busy
    first, *others = sorted(LONG)
    chain.open_threads(first)
    chain.deployment(lambda it: it["spec"]["replicas"] == len(others), seconds=60)
    assert busy_pods(chain) < busy
    chain.open_threads(*others)
    chain.wait_until_drained(seconds=60)
    chain.deployment(lambda it: it["spec"]["replicas"] <= 1, seconds=60)
    assert chain.handled() == chain.registered
