"""An API server that refuses, forgets, hangs and goes silent: the same end state, and no worker less because of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.operator_api.conftest import Operator, Queues, Start, until
from tests.operator_api.door import Choose, Door, Fault, expiring, hanging, is_watch, refusing, silent

SCALING = {"targetDrainSeconds": 1, "scaleDownStabilizationSeconds": 1, "maxReplicas": 6}
"""So short that whatever looked like an empty queue would take workers away within the test."""

SETTINGS = {"OPERATOR_API_SECONDS": "1", "OPERATOR_RESYNC_SECONDS": "1"}


@pytest.fixture
def door(cluster: Cluster, tmp_path: Path) -> Iterator[Door]:
    with Door(cluster.kubeconfig, tmp_path) as door:
        yield door


@pytest.fixture
def operator(start_operator: Start, door: Door) -> Operator:
    return start_operator(KUBECONFIG=str(door.kubeconfig), **SETTINGS)


def writes(fault: Fault) -> Choose:
    return lambda request: fault if request.method in {"PATCH", "POST", "PUT"} else None


def watches(fault: Fault) -> Choose:
    return lambda request: fault if is_watch(request) else None


def everything(fault: Fault) -> Choose:
    return lambda request: fault


def has_scaled_down(queues: Queues) -> bool:
    return any(reason == "ScaledDown" for reason, _ in queues.events())


def test_calls_that_hang_are_given_up_and_made_again(queues: Queues, door: Door, operator: Operator) -> None:
    queues.apply(scaling=SCALING)
    queues.wait_for_replicas(0)
    door.choose = writes(hanging)
    queues.redis.register(threads=3, each=2000)
    until(lambda: door.faults["PATCH"] >= 2, "two calls hung")
    assert queues.replicas() == 0

    door.choose = lambda request: None
    queues.wait_for_replicas(3)
    assert operator.total("sharded_queue_operator_api_calls_total", 'status="none"') >= 1


@pytest.mark.parametrize("fault", [refusing(500), refusing(429), refusing(410)], ids=["500", "429", "410"])
def test_while_the_server_answers_nothing_the_workers_stay_and_work_goes_on_afterwards(
    queues: Queues, door: Door, operator: Operator, fault: Fault
) -> None:
    queues.apply(scaling=SCALING)
    queues.redis.register(threads=3, each=2000)
    queues.wait_for_replicas(3)
    queues.wait(".status.desiredReplicas", 3)
    door.choose = everything(fault)
    queues.redis.register(threads=6, each=2000)
    operator.wait_for_polls(4)
    assert queues.replicas() == 3

    door.choose = lambda request: None
    queues.wait_for_replicas(6)
    assert not has_scaled_down(queues)


@pytest.mark.parametrize("fault", [expiring, silent, refusing(500)], ids=["410", "silent", "500"])
def test_watches_that_fail_are_made_up_for(queues: Queues, door: Door, start_operator: Start, fault: Fault) -> None:
    door.choose = watches(fault)
    operator = start_operator(KUBECONFIG=str(door.kubeconfig), **SETTINGS)
    queues.apply(scaling=SCALING)
    queues.redis.register(threads=4, each=2000)
    queues.wait_for_replicas(4)
    queues.apply(scaling=SCALING | {"maxReplicas": 2})
    queues.wait_for_replicas(2)

    assert door.faults["watch"] >= 1
    assert operator.process.poll() is None
