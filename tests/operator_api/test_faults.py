"""An API server that refuses, forgets, hangs and goes silent: the same end state, and no worker less because of it."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operator_api.conftest import Queues
from tests.operator_api.fault_proxy import Choose, Door, Fault, erring, hanging, is_watch, refusing, silent
from tools.cluster.cluster import Cluster
from tools.operator_process import Operator, Start, ended, until

SCALING = {"targetDrainSeconds": 1, "scaleDownStabilizationSeconds": 1, "maxReplicas": 6}
"""So short that whatever looked like an empty queue would take workers away within the test."""

SETTINGS = {"OPERATOR_API_SECONDS": "1", "OPERATOR_RESYNC_SECONDS": "1"}


@pytest.fixture
def door(api_server: Cluster, tmp_path: Path) -> Iterator[Door]:
    with Door(api_server.kubeconfig, tmp_path) as door:
        yield door


@pytest.fixture
def operator(start_operator: Start, door: Door) -> Operator:
    return start_operator(KUBECONFIG=str(door.kubeconfig), **SETTINGS)


def sometimes(fault: Fault, seed: int) -> Choose:
    """A third of all calls, those that begin a watch included."""
    chance = random.Random(seed)
    return lambda request: fault if chance.random() < 1 / 3 else None


def writes(fault: Fault) -> Choose:
    return lambda request: fault if request.method in {"PATCH", "POST", "PUT"} else None


def watches(fault: Fault) -> Choose:
    return lambda request: fault if is_watch(request) else None


def everything(fault: Fault) -> Choose:
    return lambda request: fault


def most_renewals(fault: Fault) -> Choose:
    """Two of three."""
    turn = itertools.cycle([True, True, False])
    return lambda request: fault if request.method == "PUT" and "/leases/" in request.path and next(turn) else None


def has_scaled_down(queues: Queues) -> bool:
    return any(reason == "ScaledDown" for reason, _ in queues.events())


@pytest.mark.parametrize("status", [409, 410, 429, 500, 503])
def test_a_server_that_refuses_a_third_of_all_calls_from_the_start_changes_nothing(
    queues: Queues, door: Door, start_operator: Start, status: int
) -> None:
    door.choose = sometimes(refusing(status), seed=status)
    operator = start_operator(KUBECONFIG=str(door.kubeconfig), OPERATOR_API_SECONDS="1")
    queues.apply(scaling=SCALING)
    queues.redis.register(threads=3, each=2000)
    queues.wait_for_replicas(3)
    queues.redis.register(threads=5, each=2000)
    queues.wait_for_replicas(5)
    queues.wait(".status.desiredReplicas", 5)

    assert sum(door.faults.values()) >= 3
    assert not has_scaled_down(queues)
    assert operator.process.poll() is None


@pytest.mark.parametrize("status", [409, 410, 500])
def test_a_server_that_refuses_every_call_at_the_start_is_waited_for(
    queues: Queues, door: Door, start_operator: Start, status: int
) -> None:
    queues.apply(scaling=SCALING)
    queues.redis.register(threads=3, each=2000)
    door.choose = everything(refusing(status))
    operator = start_operator(KUBECONFIG=str(door.kubeconfig), wait=False)
    until(lambda: sum(door.faults.values()) >= 3, "three calls were refused")

    door.choose = lambda request: None
    queues.wait_for_replicas(3)
    assert not has_scaled_down(queues)
    assert operator.process.poll() is None


@pytest.mark.parametrize("fault", [refusing(409), refusing(410), erring(500)], ids=["409", "410", "an error inside"])
def test_watches_that_never_begin_are_made_up_for_by_lists(
    queues: Queues, door: Door, start_operator: Start, fault: Fault
) -> None:
    """Lists come with each new beginning, long before those that are read in any case."""
    door.choose = watches(fault)
    operator = start_operator(KUBECONFIG=str(door.kubeconfig))
    queues.apply(scaling=SCALING)
    queues.redis.register(threads=4, each=2000)
    queues.wait_for_replicas(4)

    assert operator.total("sharded_queue_operator_watch_failures_total") >= 1
    assert operator.process.poll() is None
    assert ended(operator.process) == 0


def test_a_stop_is_heeded_while_the_watches_are_ended(queues: Queues, door: Door, start_operator: Start) -> None:
    door.choose = watches(refusing(410))
    operator = start_operator(KUBECONFIG=str(door.kubeconfig))
    until(lambda: operator.total("sharded_queue_operator_watch_failures_total") >= 2, "the watches ended twice")

    assert ended(operator.process) == 0


def test_a_leader_whose_renewals_are_refused_now_and_then_goes_on_leading(
    queues: Queues, door: Door, start_operator: Start
) -> None:
    lease = {"OPERATOR_LEASE_NAMESPACE": queues.namespace, "OPERATOR_LEASE_SECONDS": "3"}
    operator = start_operator(KUBECONFIG=str(door.kubeconfig), **lease, **SETTINGS)
    until(operator.is_ready, "the operator leads")
    door.choose = most_renewals(refusing(500))
    until(lambda: door.faults["PUT"] >= 10, "ten renewals were refused")

    assert operator.process.poll() is None
    assert operator.is_ready()


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


@pytest.mark.parametrize("fault", [erring(410), silent, refusing(500)], ids=["410", "silent", "500"])
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
