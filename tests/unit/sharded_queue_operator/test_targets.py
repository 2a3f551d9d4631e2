"""Workloads of users that resources scale, before an API server that has one of them."""

from math import inf
from typing import Any, cast

import pytest

from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.cluster.contest import UNDONE_SECONDS
from sharded_queue_operator.cluster.targets import Targets, owner_of, pause
from sharded_queue_operator.errors import ApiRefused, Claimed
from sharded_queue_operator.resource.mark import ORIGINAL, SCALED_BY
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource, parsed
from sharded_queue_operator.resource.workload import Workload

NAME = Name("shop", "n")
PATH = "/apis/apps/v1/namespaces/shop/deployments/mine"
OPERATOR = "sharded-queue-operator"


class Server:
    """Has one Deployment, and knows who wrote its replicas."""

    def __init__(self, replicas: int = 2, **metadata: Any) -> None:
        self.metadata: dict[str, Any] = {"namespace": "shop", "name": "mine", "resourceVersion": "1"} | metadata
        self.replicas, self.writer = replicas, "kubectl"
        self.refuses: int | None = None

    @property
    def body(self) -> dict[str, Any]:
        """All pods come at once: the Deployment is at rest."""
        managed = {"manager": self.writer, "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
        status = {"replicas": self.replicas, "readyReplicas": self.replicas}
        metadata = self.metadata | {"managedFields": [managed]}
        return {"metadata": metadata, "spec": {"replicas": self.replicas}, "status": status}

    async def get(self, path: str) -> dict[str, Any]:
        assert path == PATH
        return self.body

    find = get

    async def merge(self, path: str, patch: dict[str, Any]) -> None:
        if self.refuses and path == PATH:
            raise ApiRefused(self.refuses, "no")
        for part in ("labels", "annotations"):
            both = self.metadata.get(part, {}) | patch.get("metadata", {}).get(part, {})
            self.metadata[part] = {key: value for key, value in both.items() if value is not None}
        if "spec" in patch:
            self.scale(patch["spec"]["replicas"], OPERATOR)

    def scale(self, replicas: int, writer: str = "kubectl") -> None:
        self.replicas, self.writer = replicas, writer

    @property
    def mark(self) -> tuple[str | None, str | None]:
        labels, annotations = self.metadata.get("labels", {}), self.metadata.get("annotations", {})
        return labels.get(SCALED_BY), annotations.get(ORIGINAL)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def targets(server: Server) -> Targets:
    return Targets(cast("Api", server))


def queue(name: str = "n", created: str = "", target: str = "mine", **ref: str) -> Resource:
    spec = {
        "redis": {"addresses": ["redis:6379"]},
        "handlers": [{"name": "a"}],
        "scaleTargetRef": {"name": target, **ref},
    }
    metadata = {"namespace": "shop", "name": name, "uid": name, "creationTimestamp": created}
    return parsed(
        {"apiVersion": "shardedqueue.dev/v1alpha1", "kind": "ShardedQueue", "metadata": metadata, "spec": spec}
    )


async def find(targets: Targets, resource: Resource) -> Workload:
    ref = resource.spec.scale_target_ref
    assert ref
    return await targets.find(resource, ref)


async def scale(targets: Targets, resource: Resource, replicas: int) -> None:
    ref = resource.spec.scale_target_ref
    assert ref
    await targets.scale(resource, ref, await find(targets, resource), replicas)


# Who scales which


async def test_the_oldest_of_two_scales_a_workload(targets: Targets) -> None:
    """They once took turns for ever, each undoing what the other had done."""
    old, new = queue("z", "2026-01-01T00:00:00Z"), queue("a", "2026-01-02T00:00:00Z")
    targets.claim(new)
    targets.claim(old)

    assert await find(targets, old)
    with pytest.raises(Claimed, match="Deployment mine is scaled by the ShardedQueue z, which is older"):
        await find(targets, new)

    targets.forget(old.name)
    assert await find(targets, new)
    targets.forget(new.name)
    assert targets.claims == {}


def test_an_owner_of_another_kind_is_not_ours() -> None:
    metadata = {"namespace": "shop", "ownerReferences": [{"kind": "Other", "name": "x"}]}

    assert owner_of({"metadata": metadata}) is None


async def test_a_deployment_that_another_resource_owns_is_not_a_target(server: Server, targets: Targets) -> None:
    server.metadata["ownerReferences"] = [{"kind": "ShardedQueue", "name": "n", "uid": "1"}]

    with pytest.raises(Claimed, match="is owned by the ShardedQueue n"):
        await find(targets, queue("a"))


# When it is read


def test_a_target_at_rest_is_read_once_a_minute() -> None:
    """A thousand of them were 97 reads of the API server a second."""
    assert pause(Workload(3, 3, 3, "app=n"), inf) == 60
    assert pause(Workload(3, 2, 2, "app=n"), inf) == 5
    assert pause(Workload(3, 3, 2, "app=n"), inf) == 5


def test_a_target_is_read_often_while_our_write_may_be_undone() -> None:
    """An HPA that undid it after 15 s was noticed after a minute, too late to be distinguished from a person."""
    assert pause(Workload(3, 3, 3, "app=n"), 0) == 5
    assert pause(Workload(3, 3, 3, "app=n"), UNDONE_SECONDS) == 5
    assert pause(Workload(3, 3, 3, "app=n"), UNDONE_SECONDS + 1) == 60


async def test_a_number_that_is_undone_is_noticed_though_the_target_is_at_rest(
    server: Server, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [1000.0]
    monkeypatch.setattr("sharded_queue_operator.cluster.targets.monotonic", lambda: seconds[0])
    await scale(targets, queue(), 3)
    assert (await find(targets, queue())).wanted == 3

    server.scale(6)
    seconds[0] += 15
    assert (await find(targets, queue())).wanted == 6


# What its deletion restores


@pytest.mark.parametrize(("before", "after"), [(3, 3), (0, 1)], ids=["its-number", "at-least-one"])
async def test_a_deleted_resource_restores_the_number_of_its_target(before: int, after: int) -> None:
    """It stayed at zero for ever, and nobody handled requests again."""
    server = Server(before)
    targets, resource = Targets(cast("Api", server)), queue()
    targets.claim(resource)
    for replicas in (5, 0):
        await scale(targets, resource, replicas)
    assert server.mark == ("n", str(after))

    targets.forget(NAME)
    await targets.release(NAME)
    assert (server.replicas, server.mark) == (after, (None, None))


async def test_a_target_that_was_never_scaled_is_not_marked(server: Server, targets: Targets) -> None:
    targets.claim(queue())
    await scale(targets, queue(), 2)
    assert server.mark == (None, None)

    targets.forget(NAME)
    await targets.release(NAME)
    assert server.replicas == 2


async def test_a_resource_that_keeps_the_number_leaves_no_mark(server: Server, targets: Targets) -> None:
    """Also one that is deleted before its change was carried out."""
    for is_carried_out in (True, False):
        targets.claim(queue())
        await scale(targets, queue(), 5)
        await scale(targets, queue(), 0)
        targets.claim(queue(onDelete="Keep"))
        if is_carried_out:
            await scale(targets, queue(onDelete="Keep"), 0)
            assert server.mark == (None, None)
        targets.forget(NAME)
        await targets.release(NAME)
        assert (server.replicas, server.mark) == (0, (None, None))


async def test_a_number_that_a_person_set_since_stays(server: Server, targets: Targets) -> None:
    targets.claim(queue())
    await scale(targets, queue(), 0)
    server.scale(7)
    targets.forget(NAME)
    await targets.release(NAME)

    assert (server.replicas, server.mark) == (7, (None, None))


async def test_the_next_resource_takes_a_target_over_with_its_first_number(server: Server, targets: Targets) -> None:
    """As the same resource does that is made anew."""
    targets.claim(queue())
    targets.claim(queue("younger", "2026-01-02T00:00:00Z"))
    await scale(targets, queue(), 0)
    targets.forget(NAME)
    await targets.release(NAME)
    assert (server.replicas, server.mark) == (0, ("n", "2"))

    await scale(targets, queue("younger"), 4)
    assert server.mark == ("younger", "2")
    targets.forget(Name("shop", "younger"))
    await targets.release(Name("shop", "younger"))
    assert server.replicas == 2


async def test_a_target_that_its_resource_no_longer_names_is_restored(server: Server, targets: Targets) -> None:
    targets.claim(queue())
    await scale(targets, queue(), 0)
    targets.claim(queue(target="other"))
    await targets.release(NAME)

    assert (server.replicas, server.mark) == (2, (None, None))


async def test_a_refused_restoration_is_tried_again(server: Server, targets: Targets) -> None:
    targets.claim(queue())
    await scale(targets, queue(), 0)
    targets.forget(NAME)
    server.refuses = 409
    with pytest.raises(ApiRefused):
        await targets.release(NAME)

    server.refuses = None
    await targets.release(NAME)
    assert server.replicas == 2


async def test_a_target_that_may_not_be_marked_is_scaled_all_the_same(server: Server, targets: Targets) -> None:
    """Rights that somebody wrote for an earlier release allow the scale alone."""
    server.refuses = 403
    targets.claim(queue())
    await scale(targets, queue(), 5)

    assert (server.replicas, server.mark) == (5, (None, None))


@pytest.mark.parametrize("number", ["", "-1", "many", "１", "9" * 5000], ids=str.__len__)
async def test_a_mark_that_somebody_spoiled_is_made_anew(server: Server, targets: Targets, number: str) -> None:
    server.metadata |= {"labels": {SCALED_BY: "n"}, "annotations": {ORIGINAL: number}}
    targets.claim(queue())
    await scale(targets, queue(), 0)

    assert server.mark == ("n", "2")
