"""Why workers that were asked for do not run, from what the API server says of them."""

from typing import Any

import pytest

from sharded_queue.state import ShardState
from sharded_queue.tube import Shard
from sharded_queue_operator.resource.availability import (
    Problem,
    deployment_problem,
    is_rolling_out,
    pod_problem,
    worst,
)
from sharded_queue_operator.resource.conditions import condition
from sharded_queue_operator.resource.events import events_of
from sharded_queue_operator.resource.spec import parsed
from sharded_queue_operator.resource.status import is_urgent, status_of
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.decide import Decision
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.observation import Doubt, Observation

NOW = "2026-01-01T00:00:00Z"
RESOURCE = parsed(
    {
        "apiVersion": "shardedqueue.dev/v1alpha1",
        "kind": "ShardedQueue",
        "metadata": {"namespace": "shop", "name": "n", "generation": 1},
        "spec": {
            "redis": {"addresses": ["redis:6379"]},
            "handlers": [{"name": "a"}],
            "worker": {"image": "i", "modules": ["m"]},
        },
    }
)
CRASHED = {"name": "worker", "restartCount": 3, "lastState": {"terminated": {"exitCode": 1}}, "state": {"running": {}}}


def deployment(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {}, "status": {"conditions": list(conditions)}}


def pod(*containers: dict[str, Any], conditions: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {
        "metadata": {"name": "w-1"},
        "status": {"conditions": list(conditions), "containerStatuses": list(containers)},
    }


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            deployment(
                {"type": "ReplicaFailure", "status": "True", "message": 'pods "w" is forbidden: exceeded quota: q'}
            ),
            "QuotaExceeded",
        ),
        (deployment({"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}), "PodsRefused"),
        (deployment({"type": "Progressing", "status": "False", "message": "timed out"}), "ProgressDeadlineExceeded"),
        (deployment({"type": "Progressing", "status": "True", "message": "fine"}), None),
        (deployment(), None),
    ],
)
def test_what_a_deployment_says(body: dict[str, Any], reason: str | None) -> None:
    problem = deployment_problem(body)

    assert (problem.reason if problem else None) == reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (pod(conditions=({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},)), "Unschedulable"),
        (pod({"name": "worker", "state": {"waiting": {"reason": "ErrImageNeverPull"}}}), "ImagePullBackOff"),
        (pod({"name": "worker", "state": {"waiting": {"reason": "ImagePullBackOff"}}}), "ImagePullBackOff"),
        (pod({"name": "worker", "state": {"waiting": {"reason": "CreateContainerConfigError"}}}), "ContainerRefused"),
        (pod({**CRASHED, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}), "CrashLooping"),
        (pod(CRASHED), "CrashLooping"),
        (pod({**CRASHED, "lastState": {}, "state": {"terminated": {"exitCode": 1}}}), "CrashLooping"),
        (pod({**CRASHED, "lastState": {}}), "CrashLooping"),
        (pod({"name": "worker", "restartCount": 0, "state": {"terminated": {"exitCode": 1}}}), None),
        (pod({**CRASHED, "ready": True}, conditions=({"type": "Ready", "status": "True"},)), None),
        (pod({"name": "worker", "state": {"waiting": {"reason": "ContainerCreating"}}}), None),
        (pod(), None),
    ],
)
def test_what_a_pod_says(body: dict[str, Any], reason: str | None) -> None:
    problem = pod_problem(body)

    assert (problem.reason if problem else None) == reason


def test_the_cause_is_named_before_what_follows_from_it() -> None:
    late, image = Problem("ProgressDeadlineExceeded", "timed out"), Problem("ImagePullBackOff", "no image")

    assert worst([late, image]) == image
    assert worst([]) is None


def told(ready: int, *problems: Problem, doubt: Doubt | None = None, of_workload: Problem | None = None) -> Any:
    workload = Workload(3, 3, ready, "app=n", "uid", of_workload)
    decision = Decision(None, "AsWished", "as it is", History(), wish=3, doubt=doubt)
    seen = Observation(3, [ShardState(Shard("a"), depth=9, threads=3)], 0.0)
    return status_of(RESOURCE, workload, seen, decision, before={}, read_at=NOW, now=NOW, problems=problems)


def test_a_resource_whose_workers_cannot_run_is_not_ready() -> None:
    status = told(1, Problem("ImagePullBackOff", "the image cannot be pulled"))

    for type_ in ("WorkersAvailable", "Ready"):
        assert condition(status, type_)["status"] == "False"
        assert condition(status, type_)["reason"] == "ImagePullBackOff"
        assert condition(status, type_)["message"] == "1 of 3 workers ready: the image cannot be pulled"
    assert status["reason"] == "AsWished", "the reason of the decision stays"


def test_what_the_deployment_says_counts_where_no_pod_says_anything() -> None:
    assert condition(told(2, of_workload=Problem("QuotaExceeded", "no more")), "Ready")["reason"] == "QuotaExceeded"


def test_workers_on_their_way_are_no_trouble() -> None:
    status = told(0)

    assert condition(status, "Ready")["status"] == "True"
    assert condition(status, "WorkersAvailable")["reason"] == "Starting"


def test_enough_workers_are_available_whatever_one_pod_says() -> None:
    assert condition(told(3, Problem("CrashLooping", "again")), "Ready")["status"] == "True"


def test_an_unknown_queue_is_said_before_its_workers() -> None:
    status = told(0, Problem("CrashLooping", "again"), doubt=Doubt("RedisUnreachable", "no answer"))

    assert condition(status, "Ready")["reason"] == "RedisUnreachable"
    assert condition(status, "WorkersAvailable")["reason"] == "CrashLooping"


def test_a_person_hears_of_it_once() -> None:
    before, after = told(0), told(0, Problem("CrashLooping", "again"))

    assert is_urgent(before, after)
    assert [event.reason for event in events_of(before, after)] == ["CrashLooping"]
    assert events_of(after, after) == []


def rollout(progress: str | None, *, wanted: int = 1, replicas: int = 1, updated: int = 1) -> dict[str, Any]:
    conditions = [{"type": "Progressing", "status": "True", "reason": progress}] if progress else []
    status = {"replicas": replicas, "updatedReplicas": updated, "readyReplicas": 1, "conditions": conditions}
    return {"metadata": {}, "spec": {"replicas": wanted}, "status": status}


@pytest.mark.parametrize(
    ("body", "is_rolling"),
    [
        (rollout("NewReplicaSetAvailable"), False),
        (rollout("NewReplicaSetAvailable", wanted=3), False),  # a change of the replicas alone
        (rollout("ReplicaSetUpdated", replicas=2), True),
        (rollout("NewReplicaSetCreated", updated=0), True),
        (rollout("ReplicaSetUpdated", replicas=0, updated=0), True),  # Recreate, between the old pods and the new ones
        (rollout(None, replicas=2), True),
        (rollout(None), False),
    ],
)
def test_only_another_revision_is_a_rollout(body: dict[str, Any], is_rolling: bool) -> None:
    """By kstatus's rules for a Deployment, but for its replicas: a queue changes them all the time."""
    assert is_rolling_out(body) == is_rolling


@pytest.mark.parametrize(
    ("strategy", "updated", "current", "is_rolling"),
    [
        ({}, 3, "b", False),
        ({}, 1, "a", True),
        ({"type": "OnDelete"}, 0, "a", False),
        ({"rollingUpdate": {"partition": 2}}, 1, "a", False),
        ({"rollingUpdate": {"partition": 1}}, 1, "a", True),
    ],
)
def test_a_stateful_set_rolls_out_as_far_as_its_partition(
    strategy: dict[str, Any], updated: int, current: str, is_rolling: bool
) -> None:
    status = {"replicas": 3, "updatedReplicas": updated, "currentRevision": current, "updateRevision": "b"}

    assert is_rolling_out({"metadata": {}, "spec": {"updateStrategy": strategy}, "status": status}) == is_rolling


def of(workload: Workload, *problems: Problem, before: Any = None) -> Any:
    decision = Decision(None, "AsWished", "as it is", History(), wish=workload.wanted)
    seen = Observation(workload.wanted, [ShardState(Shard("a"))], 0.0)
    return status_of(RESOURCE, workload, seen, decision, before=before or {}, read_at=NOW, now=NOW, problems=problems)


OLD_ONE_IS_READY = Workload(1, 2, 1, "app=n", "uid", updated=1, is_rolling_out=True, revision="2")


def test_a_release_that_cannot_start_is_not_ready_though_the_old_worker_is() -> None:
    """With one to three workers, the surge of a rollout leaves all old ones: it was `Ready`, `AllReady`."""
    status = of(OLD_ONE_IS_READY, Problem("ImagePullBackOff", "the image cannot be pulled"))

    for type_ in ("WorkersAvailable", "Ready"):
        assert condition(status, type_)["status"] == "False"
        assert condition(status, type_)["reason"] == "ImagePullBackOff"


def test_a_release_on_its_way_is_not_ready_yet() -> None:
    before = of(OLD_ONE_IS_READY._replace(existing=1, is_rolling_out=False))
    status = of(OLD_ONE_IS_READY, before=before)

    assert condition(status, "Ready")["reason"] == condition(status, "WorkersAvailable")["reason"] == "RollingOut"
    assert condition(status, "Ready")["message"] == "1 of 1 worker ready; 1 of the newest release exist"
    assert events_of(before, status) == []


def test_a_queue_without_workers_is_ready_and_says_whether_its_release_has_run() -> None:
    none = Workload(0, 0, 0, "app=n", "uid", revision="2")
    new = of(none)
    assert condition(new, "Ready")["status"] == "True"
    assert condition(new, "WorkersAvailable")["reason"] == "NotStarted"

    has_run = of(none._replace(wanted=1, existing=1, ready=1), before=new)
    idle = of(none, before=has_run)
    for status in (idle, of(none, before=idle)):
        assert condition(status, "WorkersAvailable")["reason"] == "NoneDesired"
    assert condition(of(none._replace(revision="3"), before=idle), "WorkersAvailable")["reason"] == "NotStarted"
