"""Pods that come and go, and what is done about them, before an API server and a coordinator that are made up."""

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest

from sharded_queue.errors import StorageUnavailable
from sharded_queue.state import Hold, ShardState
from sharded_queue.tube import Shard
from sharded_queue_operator.cluster.pods import Members, slim_pod
from sharded_queue_operator.cluster.victims import COST, VICTIM_COST, Member
from sharded_queue_operator.controller.lease_recovery import Healer
from sharded_queue_operator.controller.scale_down import DISMISSED_SECONDS, ROUNDS, Dismissals
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource, parsed
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.observation import Doubt, Observation

SHARD = Shard("a")
NAME = Name("shop", "n")
FOUR = Workload(4, 4, 4, "app=n", "deployment-n")


def resource(**spec: Any) -> Resource:
    least = {"redis": {"addresses": ["redis:6379"]}, "handlers": [{"name": "a"}]}
    worker = {} if "scaleTargetRef" in spec else {"worker": {"image": "i", "modules": ["m"]}}
    metadata = {"namespace": "shop", "name": "n"}
    kinds = {"apiVersion": "shardedqueue.dev/v1alpha1", "kind": "ShardedQueue"}
    return parsed({**kinds, "metadata": metadata, "spec": {**least, **worker, **spec}})


def pod(name: str, maker: str = "n", kind: str = "ReplicaSet", uid: str = "") -> dict[str, Any]:
    """One of the workload whose uid is `deployment-MAKER`, by its ReplicaSet, or of the StatefulSet `set-MAKER`."""
    owner_uid = f"replicas-{maker}" if kind == "ReplicaSet" else f"set-{maker}"
    owners = [{"kind": kind, "name": f"{maker}-77", "uid": owner_uid, "controller": True}]
    labels = {"shardedqueue.dev/queue": "n"}
    metadata = {"namespace": "shop", "name": name, "uid": uid or f"uid-{name}", "labels": labels}
    running = [{"name": "worker", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": running}
    return {"metadata": metadata | {"ownerReferences": owners}, "spec": {"nodeName": "node"}, "status": ready}


def ended(body: dict[str, Any], phase: str = "Failed") -> dict[str, Any]:
    """As its kubelet tells of it."""
    body["status"] |= {
        "phase": phase,
        "containerStatuses": [{"name": "worker", "state": {"terminated": {"exitCode": 137}}}],
    }
    return body


def seen(*pods: str, read_at: float | None = None, doubt: Doubt | None = None) -> Observation:
    """Workers hold threads: in pods of ours, or elsewhere when their names have a dot."""
    owners = [name if "." in name else f"shop.{name}" for name in pods]
    held = [Hold(f"t{index}", f"{owner}/f00d", 1, 1.0) for index, owner in enumerate(owners)]
    return Observation(4, [ShardState(SHARD, held=held)], monotonic() if read_at is None else read_at, doubt)


class Server:
    """The pods of an API server, and what was patched."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.pods = {each["metadata"]["name"]: each for each in pods}
        self.costs: dict[str, str] = {}
        self.refuses = False
        self.lists = 0

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        if self.refuses:
            raise ApiRefused(403, "no right to list pods")
        self.lists += 1
        return {"items": list(self.pods.values())}

    async def find(self, path: str) -> dict[str, Any] | None:
        if self.refuses:
            raise ApiRefused(403, "no right to read pods and their makers")
        kind, name = path.split("/")[-2:]
        return self.replica_set(name.removesuffix("-77")) if kind == "replicasets" else self.pods.get(name)

    def replica_set(self, maker: str) -> dict[str, Any]:
        owner = {"kind": "Deployment", "name": maker, "uid": f"deployment-{maker}", "controller": True}
        return {"metadata": {"name": f"{maker}-77", "uid": f"replicas-{maker}", "ownerReferences": [owner]}}

    async def merge(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        if self.refuses:
            raise ApiRefused(403, "no right to patch pods")
        self.costs[path.rpartition("/")[2]] = patch["metadata"]["annotations"][COST]
        return {}


class Told:
    """What a coordinator was told."""

    def __init__(self) -> None:
        self.dismissed: list[tuple[list[str], float]] = []
        self.evicted: list[str] = []
        self.is_away = False

    async def cordon(self, shard: Shard, names: Sequence[str], seconds: float) -> None:
        if self.is_away:
            raise StorageUnavailable("no answer")
        self.dismissed.append(([name.removeprefix("shop.") for name in names], seconds))

    async def evict(self, shard: Shard, names: Sequence[str]) -> list[str]:
        if self.is_away:
            raise StorageUnavailable("no answer")
        self.evicted += names
        return [f"thread of {name}" for name in names]


@pytest.fixture
def server() -> Server:
    return Server(*(pod(name) for name in "abcd"))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def members(server: Server) -> Members:
    members = Members(server)  # type: ignore[arg-type]
    for body in server.pods.values():
        members.keep(body)
    return members


@pytest.fixture
def dismissals(members: Members, told: Told) -> Dismissals:
    async def coordinate(_: Name) -> Any:
        return told

    return Dismissals(members, coordinate)


@pytest.fixture
def healer(members: Members, told: Told) -> Healer:
    async def coordinate(_: Name) -> Any:
        return told

    return Healer(members, coordinate)


# Fewer workers


async def test_victims_are_dismissed_first_and_marked_at_the_next_reading(
    dismissals: Dismissals, told: Told, server: Server
) -> None:
    assert not await dismissals.may_lower(resource(), FOUR, seen("a", "b"), 2)
    assert told.dismissed == [(["c", "d"], DISMISSED_SECONDS)]
    assert server.costs == {}

    assert await dismissals.may_lower(resource(), FOUR, seen("a", "b"), 2)
    assert server.costs == {"c": VICTIM_COST, "d": VICTIM_COST}


async def test_a_reading_from_before_the_dismissal_does_not_do(dismissals: Dismissals, server: Server) -> None:
    early = seen("a", "b")
    assert not await dismissals.may_lower(resource(), FOUR, early, 2)

    assert not await dismissals.may_lower(resource(), FOUR, early, 2)
    assert server.costs == {}


async def test_who_took_a_thread_meanwhile_is_recalled_and_another_goes(
    dismissals: Dismissals, told: Told, server: Server
) -> None:
    await dismissals.may_lower(resource(), FOUR, seen("a", "b"), 3)
    (first, _) = told.dismissed[0]
    assert not await dismissals.may_lower(resource(), FOUR, seen("a", "b", *first), 3)

    (other,) = {"c", "d"} - set(first)
    assert told.dismissed[1:] == [([other], DISMISSED_SECONDS), (first, 0)]
    assert await dismissals.may_lower(resource(), FOUR, seen("a", "b", *first), 3)
    assert server.costs == {other: VICTIM_COST}


async def test_choosing_ends(dismissals: Dismissals) -> None:
    """Workers that are always just about to take a thread cannot keep the replicas up for ever."""
    holders = [("c", "d"), ("a", "b"), ("c", "d"), ("a", "b")]
    answers = [await dismissals.may_lower(resource(), FOUR, seen(*busy), 2) for busy in holders]

    assert answers == [False] * ROUNDS + [True]


async def test_whoever_was_dismissed_for_nothing_is_recalled_once(dismissals: Dismissals, told: Told) -> None:
    await dismissals.may_lower(resource(), FOUR, seen("a", "b"), 2)
    await dismissals.recall(resource())
    await dismissals.recall(resource())

    assert told.dismissed[1:] == [(["c", "d"], 0)]


async def test_without_redis_an_order_to_lower_is_followed_at_once(dismissals: Dismissals, told: Told) -> None:
    told.is_away = True

    assert await dismissals.may_lower(resource(), FOUR, seen(), 0)


async def test_without_rights_on_pods_the_replicas_fall_all_the_same(
    dismissals: Dismissals, server: Server, members: Members
) -> None:
    server.refuses = True
    members.forget(NAME)

    assert await dismissals.may_lower(resource(), FOUR, seen(), 2)


async def test_pods_of_the_users_deployment_are_found_by_its_selector(dismissals: Dismissals, server: Server) -> None:
    server.pods = {name: pod(name, "mine") for name in "wxyz"} | {"a": pod("a")}
    mine, workload = resource(scaleTargetRef={"name": "mine"}), FOUR._replace(uid="deployment-mine")

    await dismissals.may_lower(mine, workload, seen("y"), 1)
    assert await dismissals.may_lower(mine, workload, seen("y"), 1)
    assert server.costs == dict.fromkeys("wxz", VICTIM_COST)


async def test_the_highest_ordinals_of_a_stateful_set_are_dismissed_and_go(
    dismissals: Dismissals, server: Server, told: Told
) -> None:
    """They went without notice once: each could take a thread as it was told to stop."""
    names = [f"w-{number}" for number in range(4)]
    server.pods = {name: pod(name, kind="StatefulSet") for name in names}
    theirs, workload = resource(scaleTargetRef={"name": "n", "kind": "StatefulSet"}), FOUR._replace(uid="set-n")

    assert not await dismissals.may_lower(theirs, workload, seen("w-3"), 2)
    assert told.dismissed == [(["w-2", "w-3"], DISMISSED_SECONDS)]
    assert await dismissals.may_lower(theirs, workload, seen("w-3"), 2)
    assert server.costs == {}


async def test_a_worker_that_bears_the_bare_name_of_its_pod_is_busy_too(dismissals: Dismissals, told: Told) -> None:
    """Those of earlier versions do, until their Deployments were rolled out anew."""
    early = seen()
    (state,) = early.shards
    old = [Hold("t", "d/f00d", 1, 1.0), Hold("u", "c/f00d", 1, 1.0)]
    await dismissals.may_lower(resource(), FOUR, replace(early, shards=[replace(state, held=old)]), 2)

    assert told.dismissed == [(["a", "b"], DISMISSED_SECONDS)]


# Healing


async def test_threads_of_a_pod_that_has_ended_are_freed_once(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    assert members.drop(ended(server.pods.pop("b"))) == NAME
    (event,) = await healer.heal(resource(), FOUR, seen("a", "b"))

    assert told.evicted == ["shop.b"]
    assert event.message == "b has ended; 1 thread freed: thread of shop.b of a"
    assert await healer.heal(resource(), FOUR, seen("a", "b")) == []


async def test_of_a_pod_that_is_merely_gone_the_lease_decides(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    """A forced deletion: its process lived on, and two workers had one thread in their hands."""
    assert members.drop(server.pods.pop("b")) is None
    del server.pods["c"]
    await members.resynced(list(server.pods.values()), "")

    assert await healer.heal(resource(), FOUR, seen("b", "c")) == []
    assert told.evicted == []


async def test_of_a_pod_that_failed_with_its_node_the_lease_decides(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    """The collector of pods says that it failed; no kubelet has seen its containers end."""
    server.pods["b"]["status"]["phase"] = "Failed"
    for body in (server.pods["b"], pod("c") | {"status": {"phase": "Failed"}}):
        assert members.keep(body) is None
        assert members.drop(body) is None

    assert await healer.heal(resource(), FOUR, seen("b", "c")) == []
    assert told.evicted == []


async def test_a_container_that_will_start_again_has_not_ended(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    ended(server.pods["b"], phase="Running")

    assert members.keep(server.pods["b"]) is None
    assert await healer.heal(resource(), FOUR, seen("b")) == []


async def test_a_reading_from_before_the_pod_went_proves_nothing(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    early = seen("b")
    members.drop(ended(server.pods.pop("b")))

    assert await healer.heal(resource(), FOUR, early) == []
    assert await healer.heal(resource(), FOUR, seen("b")) != []


async def test_a_name_that_another_pod_has_by_now_is_left_alone(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    members.drop(ended(server.pods["b"]))
    server.pods["b"] = pod("b", uid="another")

    assert await healer.heal(resource(), FOUR, seen("b")) == []
    assert told.evicted == []


async def test_pods_that_another_made_free_nothing(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    """They may have the labels of ours, the names of workers, and a maker that is called as ours is."""
    forged = pod("x", "other")
    forged["metadata"]["ownerReferences"][0]["name"] = "n-77"
    for body in (forged, pod("y", "other")):
        server.pods[body["metadata"]["name"]] = body
        members.keep(body)
        members.drop(ended(body))

    assert await healer.heal(resource(), FOUR, seen("x", "y")) == []
    assert told.evicted == []


async def test_workers_of_another_namespace_are_not_spoken_for(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    """A pod with the name of one that runs elsewhere once freed its threads."""
    members.drop(ended(server.pods.pop("b")))

    assert await healer.heal(resource(), FOUR, seen("theirs.b")) == []
    assert told.evicted == []


async def test_pods_of_a_stateful_set_are_left_to_their_leases(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    """The next pod has the same name."""
    theirs = resource(scaleTargetRef={"name": "n", "kind": "StatefulSet"})
    members.drop(ended(server.pods.pop("b")))

    assert await healer.heal(theirs, FOUR, seen("b")) == []


async def test_a_pod_of_the_users_deployment_that_a_list_tells_of_is_freed(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    """As one that its node evicted, and that is kept to be looked at."""
    server.pods = {name: pod(name, "mine") for name in "wx"}
    mine, workload = resource(scaleTargetRef={"name": "mine"}), FOUR._replace(uid="deployment-mine")
    await healer.heal(mine, workload, seen("w"))
    ended(server.pods["w"])
    members.listed_at.clear()
    assert await healer.heal(mine, workload, seen("w", read_at=monotonic() - 60)) == []

    assert len(await healer.heal(mine, workload, seen("w"))) == 1


async def test_without_the_right_to_read_pods_the_lease_decides(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    """The refusal once ended all scaling of the queue."""
    members.drop(ended(server.pods.pop("b")))
    server.refuses = True

    assert await healer.heal(resource(), FOUR, seen("b")) == []


async def test_names_that_never_were_pods_of_the_workload_are_left_alone(healer: Healer, told: Told) -> None:
    assert await healer.heal(resource(), FOUR, seen("laptop", "a")) == []
    assert told.evicted == []


async def test_without_redis_healing_is_tried_again(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    members.drop(ended(server.pods.pop("b")))
    told.is_away = True
    assert await healer.heal(resource(), FOUR, seen("b")) == []

    told.is_away = False
    assert len(await healer.heal(resource(), FOUR, seen("b"))) == 1


async def test_a_pod_that_went_in_peace_is_not_remembered(healer: Healer, members: Members, server: Server) -> None:
    members.drop(ended(server.pods.pop("b"), phase="Succeeded"))
    await healer.heal(resource(), FOUR, seen("a"))

    assert members.ended[NAME] == {}


async def test_a_list_makes_up_for_an_end_that_no_watch_told(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    ended(server.pods["b"])
    await members.resynced(list(server.pods.values()), "")
    await healer.heal(resource(), FOUR, seen("b"))

    assert told.evicted == ["shop.b"]


async def test_a_list_makes_up_for_what_no_watch_told_also_after_the_pods_were_listed(
    members: Members, server: Server
) -> None:
    """Such a resource was once left out of all lists for ever."""
    members.forget(NAME)
    assert len(await members.of(resource(), FOUR)) == 4
    del server.pods["b"]
    await members.resynced(list(server.pods.values()), "")

    assert {member.name for member in await members.of(resource(), FOUR._replace(existing=3))} == set("acd")
    assert server.lists == 1


async def test_a_pod_with_our_label_and_another_maker_is_none_of_ours(members: Members) -> None:
    members.keep(pod("stranger", "other"))

    assert {member.name for member in await members.of(resource(), FOUR)} == set("abcd")


def test_of_a_listed_pod_only_what_is_used_is_kept() -> None:
    """Ten thousand whole pods took 370 MiB."""
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [{"name": "worker", "restartCount": 2, "lastState": {"terminated": {"exitCode": 1}}}],
        "podIP": "10.0.0.1",
    }
    metadata = {
        "namespace": "shop",
        "name": "n-worker-1",
        "uid": "1",
        "resourceVersion": "7",
        "labels": {"shardedqueue.dev/queue": "n"},
        "annotations": {"controller.kubernetes.io/pod-deletion-cost": "5"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "n-worker", "uid": "2", "controller": True}],
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"manager": "kubelet"}],
    }
    whole = {"metadata": metadata, "spec": {"nodeName": "node-1", "containers": [{"name": "worker"}]}, "status": status}
    slim = slim_pod(whole)

    assert Member.of(slim) == Member.of(whole)
    assert "managedFields" not in slim["metadata"]
    assert slim["spec"] == {"nodeName": "node-1"}
