"""What a new release of the operator does to the workers of all queues: few roll at a time, and failures stop them."""

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.cluster.rollouts import Rollouts
from sharded_queue_operator.cluster.workloads import Workloads
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.resource.rendering import LONGEST_ANNOTATION, RENDERED, Rendering
from sharded_queue_operator.resource.spec import Resource, parsed

GRACE = "sharded_queue_operator.resource.deployment.GRACE_SECONDS"
"""Releases of this test differ in it."""

OLD, NEW = 40, 41
"""Seconds of grace in a template of the two releases."""


def queue(name: str, rollout: str = "", generation: int = 1, image: str = "i", **spec: Any) -> Resource:
    least = {"redis": {"addresses": ["redis:6379"]}, "handlers": [{"name": "a"}]}
    metadata = {"namespace": "shop", "name": name, "uid": name, "generation": generation}
    if rollout:
        metadata["annotations"] = {"shardedqueue.dev/rollout": rollout}
    worker = {"worker": {"image": image, "modules": ["m"], **spec.pop("worker", {})}}
    kinds = {"apiVersion": "shardedqueue.dev/v1alpha1", "kind": "ShardedQueue"}
    return parsed({**kinds, "metadata": metadata, "spec": {**least, **worker, **spec}})


class Server:
    """Deployments, each of which has the pods of its first template, and gets others when it is told to."""

    def __init__(self) -> None:
        self.bodies: dict[str, dict[str, Any]] = {}
        self.is_refusing = False
        self.writes = 0

    async def find(self, path: str) -> dict[str, Any] | None:
        return self.bodies.get(path)

    async def apply(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        if self.is_refusing:
            raise ApiRefused(500, "etcd has no leader")
        return self.write(path, manifest["spec"], manifest["metadata"])

    async def merge(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        body = self.bodies[path]
        return self.write(path, {**body["spec"], **patch["spec"]}, body["metadata"])

    def write(self, path: str, spec: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
        self.writes += 1
        before = self.bodies.get(path, {"spec": None, "metadata": {"generation": 0}, "status": {}})
        generation = before["metadata"]["generation"] + (spec != before["spec"])
        metadata = {**metadata, "generation": generation, "resourceVersion": str(self.writes)}
        self.bodies[path] = {"metadata": metadata, "spec": spec, "status": before["status"]}
        return self.bodies[path]

    def end(self, name: str, reason: str = "NewReplicaSetAvailable") -> dict[str, Any]:
        """The controllers of Kubernetes are through with a Deployment, well or not."""
        self.writes += 1
        path = path_of(name)
        body = self.bodies[path]
        replicas = body["spec"]["replicas"]
        has_failed = reason == "ProgressDeadlineExceeded"
        status = {
            "observedGeneration": body["metadata"]["generation"],
            "replicas": replicas,
            "readyReplicas": replicas,
            "updatedReplicas": 1 if has_failed else replicas,
            "conditions": [{"type": "Progressing", "status": "False" if has_failed else "True", "reason": reason}],
        }
        metadata = {**body["metadata"], "resourceVersion": str(self.writes)}
        self.bodies[path] = {**body, "metadata": metadata, "status": status}
        return self.bodies[path]


def path_of(name: str) -> str:
    return f"/apis/apps/v1/namespaces/shop/deployments/{name}-worker"


class Operator:
    """One leader: what it knows of the Deployments, and what it makes of them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.rollouts = Rollouts(5)
        self.workloads = Workloads(cast("Api", server), self.rollouts)
        for body in server.bodies.values():
            self.workloads.keep(body)
        self.rollouts.is_counted = True

    async def reconcile(self, *queues: Resource, replicas: int = 2) -> None:
        for each in queues:
            self.rollouts.claim(each)
            await self.workloads.ensure(each, await self.workloads.find(each), replicas)

    def end(self, *names: str, reason: str = "NewReplicaSetAvailable") -> None:
        for name in names:
            self.workloads.keep(self.server.end(name, reason))

    def with_grace(self, seconds: int) -> set[str]:
        """The queues whose pods have a template with *seconds* of grace."""
        return {
            path.rpartition("/")[2].removesuffix("-worker")
            for path, body in self.server.bodies.items()
            if body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == seconds
        }

    def state(self, name: str) -> tuple[str, str]:
        found = self.rollouts.condition(queue(name).name)
        return found.status, found.reason


@pytest.fixture
def names() -> list[str]:
    return [f"q{number:02}" for number in range(40)]


Upgrade = Callable[[], Operator]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def upgrade(server: Server, names: list[str], monkeypatch: pytest.MonkeyPatch) -> Upgrade:
    """40 queues that run, made by one release; each call begins another operator, of the next release."""
    old = Operator(server)
    await old.reconcile(*map(queue, names))
    old.end(*names)

    def begin() -> Operator:
        monkeypatch.setattr(GRACE, NEW - 30)
        return Operator(server)

    return begin


async def test_a_new_release_rolls_a_part_of_the_queues_at_a_time(upgrade: Upgrade, names: list[str]) -> None:
    """It rolled all workers of all queues at once."""
    operator, queues = upgrade(), list(map(queue, names))
    await operator.reconcile(*queues)
    await operator.reconcile(*queues)

    first = operator.with_grace(NEW)
    assert len(first) == 2  # 5 % of 40
    assert operator.state("q00") == ("False", "UpToDate")
    assert operator.state("q39") == ("True", "Waits")

    seen = len(first)
    while seen < 40:
        operator.end(*operator.with_grace(NEW))
        assert [name.name for name in operator.rollouts.next(40)] == names[seen : seen + 2]
        await operator.reconcile(*queues)
        seen += 2
        assert len(operator.with_grace(NEW)) == seen
    assert operator.rollouts.stages() == {"under_way": 2, "failed": 0, "waiting": 0}


async def test_a_change_of_the_replicas_is_no_rollout(upgrade: Upgrade, names: list[str]) -> None:
    operator = upgrade()
    await operator.reconcile(*map(queue, names))
    operator.end(*operator.with_grace(NEW))
    await operator.reconcile(queue("q00"), replicas=7)
    body = operator.server.end("q00")
    body["status"] |= {"replicas": 7, "updatedReplicas": 7, "readyReplicas": 2}
    operator.workloads.keep(body)

    assert operator.rollouts.stages()["under_way"] == 0


async def test_the_next_leader_goes_on_where_the_last_one_was(upgrade: Upgrade, names: list[str]) -> None:
    await upgrade().reconcile(*map(queue, names))
    successor = upgrade()
    await successor.reconcile(*map(queue, names))

    assert len(successor.with_grace(NEW)) == 2
    successor.end("q00")
    await successor.reconcile(*map(queue, names))
    assert len(successor.with_grace(NEW)) == 3


async def test_nothing_rolls_before_all_deployments_are_known(upgrade: Upgrade, names: list[str]) -> None:
    operator = upgrade()
    operator.rollouts.is_counted = False
    await operator.reconcile(*map(queue, names))

    assert operator.with_grace(NEW) == set()
    assert operator.rollouts.next(40) == ()


async def test_a_change_by_its_author_waits_for_nothing(upgrade: Upgrade, names: list[str]) -> None:
    operator = upgrade()
    await operator.reconcile(*map(queue, names))
    await operator.reconcile(*[queue(name, generation=2, image="next") for name in names[30:]])

    assert operator.with_grace(NEW) == {"q00", "q01", *names[30:]}
    assert operator.rollouts.stages() == {"under_way": 2, "failed": 0, "waiting": 28}


async def test_a_change_of_what_no_pod_has_is_no_rollout(upgrade: Upgrade, names: list[str]) -> None:
    """Nor is a default that a newer definition adds to what the server tells of an old resource."""
    operator = upgrade()
    await operator.reconcile(*map(queue, names))
    await operator.reconcile(*[queue(name, generation=2, scaling={"maxReplicas": 7}) for name in names[30:]])
    await operator.reconcile(*[queue(name, drain={"timeoutSeconds": 30}) for name in names[20:30]])

    assert len(operator.with_grace(NEW)) == 2


async def test_queues_that_no_rollout_can_harm_are_updated_out_of_turn(upgrade: Upgrade, names: list[str]) -> None:
    operator = upgrade()
    await operator.reconcile(*map(queue, names[:2]))
    await operator.reconcile(queue("q10"), replicas=0)
    operator.end("q10")
    operator.end("q11", reason="ProgressDeadlineExceeded")
    await operator.reconcile(queue("q10"), replicas=0)
    await operator.reconcile(*map(queue, names[11:]))

    assert operator.with_grace(NEW) == {"q00", "q01", "q10", "q11"}
    assert operator.rollouts.stages()["under_way"] == 2


async def test_three_failures_stop_the_rest_until_a_person_says_go(upgrade: Upgrade, names: list[str]) -> None:
    operator, queues = upgrade(), list(map(queue, names))
    while len(failed := operator.with_grace(NEW)) < 4:
        await operator.reconcile(*queues)
        operator.end(*operator.with_grace(NEW), reason="ProgressDeadlineExceeded")
    await operator.reconcile(*queues)

    assert failed == operator.with_grace(NEW) == {"q00", "q01", "q02", "q03"}
    assert operator.state("q39") == ("True", "Stopped")
    message = operator.rollouts.condition(queues[39].name).message
    assert "4 rollouts of it failed (shop/q00, shop/q01, shop/q02)" in message

    await operator.reconcile(*[queue(name, rollout="go") for name in ("q00", "q01")], *queues[4:])
    assert operator.with_grace(NEW) == {"q00", "q01", "q02", "q03", "q04", "q05"}


async def test_a_failure_that_is_mended_counts_no_longer(upgrade: Upgrade, names: list[str]) -> None:
    operator, queues = upgrade(), list(map(queue, names))
    while len(operator.with_grace(NEW)) < 4:
        await operator.reconcile(*queues)
        operator.end(*operator.with_grace(NEW), reason="ProgressDeadlineExceeded")
    await operator.reconcile(*[queue(name, generation=2, image="mended") for name in ("q00", "q01")])

    assert operator.rollouts.stages() == {"under_way": 0, "failed": 2, "waiting": 36}


async def test_a_queue_that_is_held_keeps_its_template(upgrade: Upgrade, names: list[str]) -> None:
    operator = upgrade()
    held = queue("q00", rollout="hold")
    await operator.reconcile(held, *map(queue, names[1:]))

    assert operator.with_grace(NEW) == {"q01", "q02"}
    assert operator.state("q00") == ("True", "Held")
    operator.end("q01", "q02")
    assert [name.name for name in operator.rollouts.next(40)] == ["q03", "q04"]

    await operator.reconcile(queue("q00", rollout="hold", generation=2, image="next"))  # its author asks for other pods
    assert "q00" in operator.with_grace(NEW)


async def test_a_queue_that_waits_is_scaled_and_healed_by_its_present_template(
    upgrade: Upgrade, names: list[str]
) -> None:
    operator = upgrade()
    await operator.reconcile(*map(queue, names))
    await operator.reconcile(queue("q39"), replicas=5)
    path = path_of("q39")
    assert operator.server.bodies[path]["spec"]["replicas"] == 5

    drifted = operator.server.bodies[path]
    template = {**drifted["spec"]["template"], "spec": {"terminationGracePeriodSeconds": 1}}
    operator.workloads.keep(operator.server.write(path, {**drifted["spec"], "template": template}, drifted["metadata"]))
    await operator.reconcile(queue("q39"), replicas=5)
    assert "q39" in operator.with_grace(OLD)

    writes = operator.server.writes
    await operator.reconcile(*map(queue, names[:39]))
    await operator.reconcile(queue("q39"), replicas=5)
    assert operator.server.writes == writes


async def test_deployments_of_a_release_that_wrote_nothing_down_wait_as_well(
    upgrade: Upgrade, names: list[str]
) -> None:
    """They are scaled, by their replicas alone, and get what is written down with their turn."""
    operator = upgrade()
    for body in operator.server.bodies.values():
        body["metadata"]["annotations"] = {}
        operator.workloads.keep(body)
    await operator.reconcile(*map(queue, names))
    await operator.reconcile(*map(queue, names), replicas=3)

    assert operator.with_grace(NEW) == {"q00", "q01"}
    assert {body["spec"]["replicas"] for body in operator.server.bodies.values()} == {3}
    assert RENDERED in operator.server.bodies[path_of("q00")]["metadata"]["annotations"]


async def test_the_same_template_is_written_down_without_a_turn(server: Server, names: list[str]) -> None:
    operator = Operator(server)
    await operator.reconcile(*map(queue, names))
    operator.end(*names)
    for body in server.bodies.values():
        body["metadata"]["annotations"] = {}
    successor = Operator(server)
    await successor.reconcile(*map(queue, names))

    assert all(RENDERED in body["metadata"]["annotations"] for body in server.bodies.values())
    assert {body["metadata"]["generation"] for body in server.bodies.values()} == {1}
    assert successor.rollouts.stages() == {"under_way": 0, "failed": 0, "waiting": 0}


def test_what_a_later_release_writes_down_is_read_as_far_as_it_is_known() -> None:
    """After a way back to this release."""
    written = {
        "template": {"spec": {}},
        "asked": "a",
        "generation": 7,
        "release": "9.1.0",
        "in_turn": True,
        "later": [1],
    }
    body = {"metadata": {"annotations": {RENDERED: json.dumps(written)}}}

    assert Rendering.of(body) == Rendering({"spec": {}}, "a", 7, "9.1.0", in_turn=True)


async def test_a_refused_write_takes_no_room(upgrade: Upgrade, names: list[str]) -> None:
    operator = upgrade()
    operator.server.is_refusing = True
    for name in names:
        with pytest.raises(ApiRefused):
            await operator.reconcile(queue(name))

    assert operator.rollouts.stages()["under_way"] == 0


async def test_a_queue_that_is_gone_takes_no_room(upgrade: Upgrade, names: list[str]) -> None:
    operator = upgrade()
    await operator.reconcile(*map(queue, names))
    operator.workloads.drop(operator.server.bodies[path_of("q00")])
    for name in ("q00", "q39"):
        operator.rollouts.forget(queue(name).name)

    assert operator.rollouts.stages() == {"under_way": 1, "failed": 0, "waiting": 37}


async def test_a_template_too_long_to_write_down_waits_and_is_scaled(
    server: Server, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = [{"name": "MUCH", "value": "x" * LONGEST_ANNOTATION}]
    template = {"template": {"spec": {"containers": [{"name": "worker", "env": env}]}}}
    queues = [queue(name, worker=template) for name in names[:3]]
    operator = Operator(server)
    await operator.reconcile(*queues)
    operator.end(*names[:3])
    await operator.reconcile(*queues)
    writes = server.writes
    monkeypatch.setattr(GRACE, NEW - 30)
    successor = Operator(server)
    await successor.reconcile(*queues)
    await successor.reconcile(*queues, replicas=4)

    assert writes == 6  # 3 made, and 3 ended
    assert successor.with_grace(NEW) == {"q00"}
    assert {body["spec"]["replicas"] for body in server.bodies.values()} == {4}
