"""Pods that come and go, and what is done about them, before an API server and a coordinator that are made up."""

from collections.abc import Sequence
from time import monotonic
from typing import Any

import pytest

from sharded_queue.errors import StorageUnavailable
from sharded_queue.storage import Hold, ShardState
from sharded_queue.tube import Shard
from sharded_queue_operator.decide import Doubt, Observation
from sharded_queue_operator.dismissal import DISMISSED_SECONDS, ROUNDS, Dismissals
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.healing import Healer
from sharded_queue_operator.members import Members
from sharded_queue_operator.resource import Name, Resource, parsed
from sharded_queue_operator.victims import VICTIM_COST
from sharded_queue_operator.workload import Workload

SHARD = Shard("a")
NAME = Name("shop", "n")
FOUR = Workload(4, 4, 4, "app=n")


def resource(**spec: Any) -> Resource:
    least = {"redis": {"addresses": ["redis:6379"]}, "handlers": [{"name": "a"}]}
    worker = {} if "scaleTargetRef" in spec else {"worker": {"image": "i", "modules": ["m"]}}
    metadata = {"namespace": "shop", "name": "n"}
    kinds = {"apiVersion": "shardedqueue.dev/v1alpha1", "kind": "ShardedQueue"}
    return parsed({**kinds, "metadata": metadata, "spec": {**least, **worker, **spec}})


def pod(name: str, deployment: str = "n-worker", **status: Any) -> dict[str, Any]:
    labels = {"shardedqueue.dev/queue": "n", "pod-template-hash": "77"}
    owners = [{"kind": "ReplicaSet", "name": f"{deployment}-77"}]
    metadata = {"namespace": "shop", "name": name, "labels": labels, "ownerReferences": owners}
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": metadata, "spec": {"nodeName": "node"}, "status": ready | status}


def seen(*owners: str, read_at: float | None = None, doubt: Doubt | None = None) -> Observation:
    held = [Hold(f"t{index}", f"{owner}/f00d", 1, 1.0) for index, owner in enumerate(owners)]
    return Observation(4, [ShardState(SHARD, held=held)], monotonic() if read_at is None else read_at, doubt)


class Server:
    """The pods of an API server, and what was patched."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.pods = {each["metadata"]["name"]: each for each in pods}
        self.costs: dict[str, int] = {}
        self.refuses = False

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        if self.refuses:
            raise ApiRefused(403, "no right to list pods")
        return {"items": list(self.pods.values())}

    async def find(self, path: str) -> dict[str, Any] | None:
        return self.pods.get(path.rpartition("/")[2])

    async def merge(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        if self.refuses:
            raise ApiRefused(403, "no right to patch pods")
        (cost,) = patch["metadata"]["annotations"].values()
        self.costs[path.rpartition("/")[2]] = int(cost)
        return {}


class Told:
    """What a coordinator was told."""

    def __init__(self) -> None:
        self.dismissed: list[tuple[list[str], float]] = []
        self.evicted: list[str] = []
        self.is_away = False

    async def dismiss(self, shard: Shard, names: Sequence[str], seconds: float) -> None:
        if self.is_away:
            raise StorageUnavailable("no answer")
        self.dismissed.append((list(names), seconds))

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
    mine = resource(scaleTargetRef={"name": "mine"})

    await dismissals.may_lower(mine, FOUR, seen("y"), 1)
    assert await dismissals.may_lower(mine, FOUR, seen("y"), 1)
    assert server.costs == dict.fromkeys("wxz", VICTIM_COST)


async def test_pods_of_a_stateful_set_are_left_alone(dismissals: Dismissals, members: Members, told: Told) -> None:
    members.forget(NAME)
    theirs = resource(scaleTargetRef={"name": "mine", "kind": "StatefulSet"})

    assert await dismissals.may_lower(theirs, FOUR, seen(), 1)
    assert told.dismissed == []


# Healing


async def test_threads_of_a_pod_that_is_gone_are_freed_once(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    members.drop(server.pods.pop("b"))
    (event,) = await healer.heal(resource(), FOUR, seen("a", "b"))

    assert told.evicted == ["b"]
    assert event.message == "b is gone; 1 thread freed: thread of b of a"
    assert await healer.heal(resource(), FOUR, seen("a", "b")) == []


async def test_a_reading_from_before_the_pod_went_proves_nothing(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    early = seen("b")
    members.drop(server.pods.pop("b"))

    assert await healer.heal(resource(), FOUR, early) == []
    assert await healer.heal(resource(), FOUR, seen("b")) != []


async def test_a_pod_that_exists_is_not_gone_whatever_the_watch_says(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    """Taking a label from a pod takes it out of the watch, while it works on."""
    members.drop(server.pods["b"])

    assert await healer.heal(resource(), FOUR, seen("b")) == []
    assert told.evicted == []


async def test_a_pod_whose_containers_have_ended_for_ever_is_gone(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    server.pods["b"]["status"]["phase"] = "Failed"

    assert members.keep(server.pods["b"]) == NAME
    await healer.heal(resource(), FOUR, seen("b"))
    assert told.evicted == ["b"]


async def test_names_that_never_were_pods_of_the_workload_are_left_alone(healer: Healer, told: Told) -> None:
    assert await healer.heal(resource(), FOUR, seen("laptop", "a")) == []
    assert told.evicted == []


async def test_without_redis_healing_is_tried_again(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    members.drop(server.pods.pop("b"))
    told.is_away = True
    assert await healer.heal(resource(), FOUR, seen("b")) == []

    told.is_away = False
    assert len(await healer.heal(resource(), FOUR, seen("b"))) == 1


async def test_a_pod_that_went_in_peace_is_not_remembered(healer: Healer, members: Members, server: Server) -> None:
    members.drop(server.pods.pop("b"))
    await healer.heal(resource(), FOUR, seen("a"))

    assert members.departed[NAME] == {}


async def test_a_list_makes_up_for_a_deletion_that_no_watch_told(
    healer: Healer, members: Members, server: Server, told: Told
) -> None:
    del server.pods["b"]
    members.resynced(list(server.pods.values()), "")
    await healer.heal(resource(), FOUR, seen("b"))

    assert told.evicted == ["b"]


def test_a_pod_with_our_label_and_another_maker_is_none_of_ours(members: Members) -> None:
    members.keep(pod("stranger", "other"))

    assert set(members.known[NAME]) == set("abcd")
