"""
Whether a queue is ready, as kstatus judges it: the library by which Helm and Flux wait. A release that cannot start
must not be `Current` to it, and what is as it was wished must be.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from sharded_queue.state import ShardState
from sharded_queue.tube import Shard
from sharded_queue_operator.resource.availability import Problem
from sharded_queue_operator.resource.conditions import Condition, condition
from sharded_queue_operator.resource.spec import parsed
from sharded_queue_operator.resource.status import refused_status, status_of
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.decide import Decision
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.observation import Doubt, Observation
from tests.harness.requirements import kstatus_of

NOW = "2026-01-01T00:00:00Z"
TYPO = Problem("ImagePullBackOff", "the image cannot be pulled")
NO_REDIS = Doubt("RedisUnreachable", "no answer")
CONTESTED = Condition("Contested", "True", "ReplicasApplied", "another manager applies spec.replicas")

NONE = Workload(0, 0, 0, "app=n", "uid", revision="2")
ONE = Workload(1, 1, 1, "app=n", "uid", updated=1, revision="2")
THREE = Workload(3, 3, 3, "app=n", "uid", updated=3, revision="2")
SURGE_OF_ONE = ONE._replace(existing=2, is_rolling_out=True)
SURGE_OF_THREE = THREE._replace(existing=4, updated=1, is_rolling_out=True)


def queue(
    workload: Workload | None,
    *problems: Problem,
    reason: str = "AsWished",
    spec: dict[str, Any] | None = None,
    doubt: Doubt | None = None,
    other: tuple[Condition, ...] = (),
    generation: int = 2,
) -> dict[str, Any]:
    """A ShardedQueue with the status that it has after a look at *workload*; *generation*: the newest one."""
    needed = {
        "redis": {"addresses": ["redis:6379"]},
        "handlers": [{"name": "a"}],
        "worker": {"image": "i", "modules": ["m"]},
    }
    body = {
        "apiVersion": "shardedqueue.dev/v1alpha1",
        "kind": "ShardedQueue",
        "metadata": {"namespace": "shop", "name": "n", "generation": 2},
        "spec": needed | (spec or {}),
    }
    wanted = workload.wanted if workload else 0
    decision = Decision(None, reason, "as it is", History(), wish=wanted, doubt=doubt)
    seen = Observation(wanted, [ShardState(Shard("a"))], 0.0, doubt)
    status = status_of(
        parsed(body),
        workload,
        seen,
        decision,
        before={},
        read_at=NOW,
        now=NOW,
        problems=problems,
        other_conditions=other,
    )
    return {**body, "metadata": {**body["metadata"], "generation": generation}, "status": status}


def refused() -> dict[str, Any]:
    body = queue(ONE)
    return {**body, "status": refused_status(body, "BadSpec", "that cannot be", NOW)}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (queue(ONE), "Current"),
        (queue(THREE), "Current"),
        (queue(NONE), "Current"),
        (queue(THREE._replace(ready=1)), "Current"),
        (queue(SURGE_OF_ONE), "InProgress"),
        (queue(SURGE_OF_THREE), "InProgress"),
        (queue(SURGE_OF_ONE, TYPO), "InProgress"),
        (queue(SURGE_OF_THREE, TYPO), "InProgress"),
        (queue(ONE._replace(ready=0), TYPO), "InProgress"),
        (queue(ONE, generation=3), "InProgress"),
        (queue(ONE, doubt=NO_REDIS), "InProgress"),
        (queue(ONE, other=(CONTESTED,)), "InProgress"),
        (refused(), "InProgress"),
        (queue(ONE, reason="Suspended", spec={"suspend": True}), "Current"),
        (queue(ONE, reason="Pinned", spec={"replicas": 1}), "Current"),
        (queue(ONE, reason="Recommended", spec={"scaling": {"mode": "Recommend"}}), "Current"),
    ],
    ids=[
        *("one worker", "three workers", "no worker", "more workers on their way"),
        *("one rolls out", "three roll out", "one has a typo", "three have a typo", "the first has a typo"),
        *("a newer spec", "no Redis", "contested", "refused", "suspended", "pinned", "recommending"),
    ],
)
def test_a_queue_is_current_where_it_is_ready(body: dict[str, Any], expected: str) -> None:
    (found,) = kstatus_of(body)
    is_of_this_spec = body["status"]["observedGeneration"] == body["metadata"]["generation"]

    assert found == expected
    assert (found == "Current") == (condition(body["status"], "Ready")["status"] == "True" and is_of_this_spec)


PROGRESS = {
    "NewReplicaSetAvailable": "True",
    "ReplicaSetUpdated": "True",
    "NewReplicaSetCreated": "True",
    "ProgressDeadlineExceeded": "False",
}


def deployments() -> Iterator[dict[str, Any]]:
    """All that a Deployment of at most three workers may say of itself."""
    for wanted, existing, reason in product(range(4), range(5), PROGRESS):
        for updated, ready in product(range(existing + 1), repeat=2):
            is_available = "True" if ready >= wanted else "False"
            conditions = [
                {"type": "Available", "status": is_available},
                {"type": "Progressing", "status": PROGRESS[reason], "reason": reason},
            ]
            counts = {"replicas": existing, "updatedReplicas": updated}
            counts |= {"readyReplicas": ready, "availableReplicas": ready}
            yield {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"namespace": "shop", "name": "n-worker", "generation": 2},
                "spec": {"replicas": wanted, "progressDeadlineSeconds": 600},
                "status": {"observedGeneration": 2, **counts, "conditions": conditions},
            }


def test_a_queue_is_ready_when_its_deployment_is_current() -> None:
    """
    And the reverse, where the number of its workers stands still: a change of it is no release. A queue that wants none
    is ready too, and says whether its release has run.
    """
    bodies = list(deployments())
    current = [status == "Current" for status in kstatus_of(*bodies)]
    workloads = [Workload.of(body) for body in bodies]
    ready = [condition(queue(each)["status"], "Ready")["status"] == "True" for each in workloads]

    assert 0 < sum(current) < len(bodies)
    assert [body for body, now, ours in zip(bodies, current, ready, strict=True) if now and not ours] == []
    stand_still = [0 < each.wanted == each.existing == each.ready for each in workloads]
    found = zip(bodies, current, ready, stand_still, strict=True)
    assert [body for body, now, ours, stands in found if stands and ours != now] == []
