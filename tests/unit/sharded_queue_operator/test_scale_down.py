"""Fewer workers: cordoned first, and let go only when they hold nothing. Only a person's number does not wait."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sharded_queue.state import Hold, ShardState
from sharded_queue_operator.cluster.pods import PodTracker
from sharded_queue_operator.cluster.victims import VICTIM_COST
from sharded_queue_operator.controller.scale_down import CORDON_SECONDS, ScaleDown, Step
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.decide import FEW_READS, Decision
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.observation import Doubt, Observation
from tests.unit.sharded_queue_operator.pod_server import (
    FOUR,
    NAME,
    SHARD,
    PodServer,
    RecordingCoordinator,
    pod,
    resource,
    seen,
    tracking,
)

LONG = CORDON_SECONDS + 2
"""How long a cordon lasts where a queue is polled each second."""


class Fleet:
    """Workers of one resource, a reading at a time. *wanted* follows what the steps set."""

    def __init__(self, scale_down: ScaleDown, workload: Workload = FOUR, resource: Resource | None = None) -> None:
        self.scale_down, self.workload = scale_down, workload
        self.resource = resource or globals()["resource"]()

    async def step(
        self, replicas: int | None, observed: Observation, reason: str = "ScaledDown", wish: int | None = None
    ) -> Step:
        observed = replace(observed, replicas=self.workload.wanted)
        decision = Decision(replicas, reason, "there is less to do", History(), wish)
        step = await self.scale_down.follow(self.resource, self.workload, observed, decision)
        if step.decision.replicas is not None:
            self.workload = self.workload._replace(wanted=step.decision.replicas)
        return step

    async def wanted(self, replicas: int | None, *readings: Sequence[str], reason: str = "ScaledDown") -> list[int]:
        """The replicas after each reading; a reading names the pods that hold a thread."""
        steps = []
        for busy in readings:
            await self.step(replicas, seen(*busy), reason)
            steps.append(self.workload.wanted)
        return steps


def finding(coordinator: RecordingCoordinator) -> Any:
    async def find_coordinator(_: Name) -> Any:
        return coordinator

    return find_coordinator


@pytest.fixture
def scale_down(pods: PodTracker, coordinator: RecordingCoordinator) -> ScaleDown:
    return ScaleDown(pods, finding(coordinator))


@pytest.fixture
def fleet(scale_down: ScaleDown) -> Fleet:
    return Fleet(scale_down)


async def test_a_request_in_hand_is_never_cut(coordinator: RecordingCoordinator) -> None:
    """Eight requests of 600 s, each alone on its pod of ten lanes: seven of them were once cut, `8 → 1`."""
    server = PodServer(*(pod(name) for name in "abcdefgh"))
    eight = FOUR._replace(wanted=8, existing=8, ready=8)
    fleet = Fleet(ScaleDown(tracking(server), finding(coordinator)), eight)

    assert await fleet.wanted(1, *["abcdefgh"] * 5) == [8] * 5
    assert server.costs == {}
    assert coordinator.cordoned == [(list("abcdefg"), LONG)]

    assert await fleet.wanted(1, "abcefgh", "abefh", "ah", "h") == [7, 5, 2, 1]
    assert server.costs == dict.fromkeys("abcdefg", VICTIM_COST)


async def test_victims_are_cordoned_first_and_marked_at_the_next_reading(
    fleet: Fleet, coordinator: RecordingCoordinator, pod_server: PodServer
) -> None:
    first = await fleet.step(2, seen("a", "b"))
    assert (first.decision.replicas, first.is_prepared) == (None, False)
    assert coordinator.cordoned == [(["c", "d"], LONG)]
    assert pod_server.costs == {}

    assert await fleet.wanted(2, "ab") == [2]
    assert pod_server.costs == {"c": VICTIM_COST, "d": VICTIM_COST}


async def test_a_reading_from_before_the_cordon_does_not_count(fleet: Fleet, pod_server: PodServer) -> None:
    early = seen("a", "b")
    for _ in range(2):
        assert (await fleet.step(2, early)).decision.replicas is None
    assert pod_server.costs == {}


async def test_a_drained_thread_that_lingers_is_held_too(fleet: Fleet) -> None:
    """A request may come to it at any moment, without a bind."""
    lingering = [Hold("t", "shop.d/f00d", 1, 0.0), Hold("u", "shop.a/f00d", 1, 1.0)]
    for _ in range(3):
        observed = replace(seen(), shards=[ShardState(SHARD, held=lingering)])
        await fleet.step(1, observed)

    assert fleet.workload.wanted == 2


@pytest.mark.parametrize("doubt", [Doubt("RedisUnreachable", "no answer"), None])
async def test_a_reading_that_does_not_list_all_holds_proves_nothing(fleet: Fleet, doubt: Doubt | None) -> None:
    for _ in range(3):
        shard = ShardState(SHARD, bound=0 if doubt else 3, held=[])
        await fleet.step(1, replace(seen(doubt=doubt), shards=[shard]))

    assert fleet.workload.wanted == 4


async def test_an_idle_worker_takes_the_place_of_one_that_got_a_thread(
    fleet: Fleet, coordinator: RecordingCoordinator, pod_server: PodServer
) -> None:
    await fleet.step(3, seen("a", "b"))
    ((first, _),) = coordinator.cordoned
    await fleet.step(3, seen("a", "b", *first))

    (other,) = {"c", "d"} - set(first)
    assert coordinator.cordoned[1:] == [([other], LONG), (first, 0)]
    assert await fleet.wanted(3, ["a", "b", *first]) == [3]
    assert pod_server.costs == {other: VICTIM_COST}


async def test_the_choice_of_victims_ends(fleet: Fleet, coordinator: RecordingCoordinator) -> None:
    """Workers that are always just about to take a thread cannot keep the replicas up for ever."""
    await fleet.wanted(2, *["cd", "ab"] * 10)
    cordons = [names for names, seconds in coordinator.cordoned if seconds]

    assert len(cordons) == 4
    assert await fleet.wanted(2, sorted(set("abcd") - set(cordons[-1]))) == [2]


async def test_more_demand_lifts_cordons_before_a_worker_is_added(
    fleet: Fleet, coordinator: RecordingCoordinator
) -> None:
    await fleet.step(1, seen(*"abcd"))
    await fleet.step(3, seen(*"abcd"))
    ((cordoned, _), (lifted, seconds)) = coordinator.cordoned
    assert (len(cordoned), len(lifted), seconds) == (3, 2, 0)

    step = await fleet.step(5, seen(*"abcd"))
    assert step.decision.replicas == 5
    assert coordinator.cordoned[2:] == [(sorted(set(cordoned) - set(lifted)), 0)]


async def test_a_reading_that_may_not_lower_lifts_no_cordon_while_the_others_suffice(
    fleet: Fleet, coordinator: RecordingCoordinator
) -> None:
    """It came between two polls, as a reading after each cordon does."""
    await fleet.step(1, seen(*"abcd"))
    await fleet.step(None, seen(*"abcd"), FEW_READS, wish=1)
    assert len(coordinator.cordoned) == 1

    await fleet.step(None, seen(*"abcd"), FEW_READS, wish=2)
    assert coordinator.cordoned[1:] == [(coordinator.cordoned[0][0], 0)]


async def test_only_a_person_waits_for_the_reading_after_a_cordon(fleet: Fleet) -> None:
    assert not (await fleet.step(3, seen(*"abcd"))).is_urgent
    assert (await fleet.step(1, seen(*"abcd"), "Pinned")).is_urgent


async def test_workers_that_were_cordoned_for_nothing_are_uncordoned_once(
    fleet: Fleet, coordinator: RecordingCoordinator
) -> None:
    await fleet.step(2, seen("a", "b"))
    for _ in range(2):
        await fleet.step(None, seen("a", "b"))

    assert coordinator.cordoned[1:] == [(["c", "d"], 0)]


async def test_a_cordon_that_may_have_ended_proves_nothing(
    fleet: Fleet, coordinator: RecordingCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker may have taken a thread since the reading."""
    monkeypatch.setattr("sharded_queue_operator.controller.scale_down.CORDON_SECONDS", -2.0)

    assert await fleet.wanted(2, *["ab"] * 3) == [4, 4, 4]
    assert len(coordinator.cordoned) == 3


async def test_a_new_operator_cordons_anew(fleet: Fleet, coordinator: RecordingCoordinator, pods: PodTracker) -> None:
    """The one before died between the cordon and the fall."""
    await fleet.step(2, seen("a", "b"))
    fleet.scale_down = ScaleDown(pods, finding(coordinator))

    assert await fleet.wanted(2, "ab", "ab") == [4, 2]
    assert len(coordinator.cordoned) == 2


async def test_a_pod_that_was_let_go_and_is_still_listed_counts_once(fleet: Fleet) -> None:
    """A watch that is late must not make the replicas fall twice for one empty pod."""
    assert await fleet.wanted(1, "abc", "abc", "abc", "abc") == [4, 3, 3, 3]


async def test_a_pod_that_is_not_ready_is_awaited_as_the_replica_set_removes_it_first(
    coordinator: RecordingCoordinator,
) -> None:
    names = {name: pod(name) for name in "abc"}
    names["a"]["status"]["conditions"] = []
    fleet = Fleet(ScaleDown(tracking(PodServer(*names.values())), finding(coordinator)), FOUR._replace(wanted=3))

    assert await fleet.wanted(1, "ab", "ab", "b") == [3, 3, 1]


async def test_what_waits_is_told(fleet: Fleet) -> None:
    await fleet.step(1, seen(*"abcd"))
    step = await fleet.step(1, seen(*"abcd"))

    assert step.condition[1:3] == ("True", "FinishingRequests")
    assert step.condition.message.startswith("3 surplus workers take no new threads")
    assert step.decision.reason == "FinishingRequests"


async def test_a_persons_number_is_set_whatever_the_workers_hold(
    fleet: Fleet, coordinator: RecordingCoordinator, pod_server: PodServer
) -> None:
    assert await fleet.wanted(1, "abcd", "abcd", reason="Pinned") == [4, 1]
    assert len(pod_server.costs) == 3
    assert len(coordinator.cordoned) == 1


async def test_without_redis_only_an_order_is_followed(fleet: Fleet, coordinator: RecordingCoordinator) -> None:
    coordinator.is_away = True

    assert await fleet.wanted(0, "", "") == [4, 4]
    assert await fleet.wanted(0, "", reason="Suspended") == [0]


async def test_without_rights_on_pods_the_replicas_fall_when_nothing_is_held(
    fleet: Fleet, pod_server: PodServer, pods: PodTracker
) -> None:
    pod_server.refuses = True
    pods.forget(NAME)

    step = await fleet.step(2, seen("a"))
    assert (step.decision.replicas, step.condition.reason) == (None, "VictimsUnknown")
    assert await fleet.wanted(2, "") == [2]


async def test_pods_that_cannot_be_marked_go_when_none_holds_anything(
    fleet: Fleet, pod_server: PodServer, pods: PodTracker
) -> None:
    await fleet.step(2, seen("a"))  # the tracker knows to whom the pods belong
    pod_server.refuses = True

    assert await fleet.wanted(2, *["a"] * 3) == [4, 4, 4]
    assert await fleet.wanted(2, "", "") == [4, 2]


async def test_pods_of_two_revisions_go_when_none_holds_anything(coordinator: RecordingCoordinator) -> None:
    """A Deployment that rolls out spreads its replicas over both, whatever the costs of the pods."""
    server = PodServer(pod("a"), pod("b"), pod("c"), pod("d"))
    server.pods["d"]["metadata"]["ownerReferences"][0]["uid"] = "deployment-n"
    fleet = Fleet(ScaleDown(tracking(server), finding(coordinator)))

    assert await fleet.wanted(2, "a", "a") == [4, 4]
    assert coordinator.cordoned == []
    assert await fleet.wanted(2, "", "") == [4, 2]
    assert coordinator.cordoned == [(list("abcd"), LONG)]


async def test_pods_of_the_users_deployment_are_found_by_its_selector(
    scale_down: ScaleDown, pod_server: PodServer
) -> None:
    pod_server.pods = {name: pod(name, "mine") for name in "wxyz"} | {"a": pod("a")}
    mine, workload = resource(scaleTargetRef={"name": "mine"}), FOUR._replace(uid="deployment-mine")

    assert await Fleet(scale_down, workload, mine).wanted(1, "y", "y") == [4, 1]
    assert pod_server.costs == dict.fromkeys("wxz", VICTIM_COST)


def stateful(scale_down: ScaleDown, server: PodServer, *ordinals: int, first: int = 0) -> Fleet:
    names = [f"w-{number}" for number in ordinals]
    server.pods = {name: pod(name, kind="StatefulSet") for name in names}
    theirs = resource(scaleTargetRef={"name": "n", "kind": "StatefulSet"})
    return Fleet(scale_down, FOUR._replace(uid="set-n", first_ordinal=first), theirs)


async def test_the_highest_ordinals_of_a_stateful_set_go_as_they_become_empty(
    scale_down: ScaleDown, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    """They once went without a cordon, and later with what they held in hand."""
    fleet = stateful(scale_down, pod_server, 0, 1, 2, 3)

    assert await fleet.wanted(1, ["w-0", "w-2"], ["w-0", "w-2"], ["w-0"]) == [4, 3, 1]
    assert coordinator.cordoned == [(["w-1", "w-2", "w-3"], LONG)]
    assert pod_server.costs == {}


async def test_a_missing_pod_of_a_stateful_set_shifts_no_ordinal(scale_down: ScaleDown, pod_server: PodServer) -> None:
    fleet = stateful(scale_down, pod_server, 5, 7, 8, first=5)
    fleet.workload = fleet.workload._replace(existing=3)

    assert await fleet.wanted(2, ["w-7"], ["w-7"]) == [4, 3]


async def test_what_workers_hold_of_another_queue_counts_too(
    scale_down: ScaleDown, coordinator: RecordingCoordinator
) -> None:
    """Two queues may have one target: the workers handle the requests of both."""
    other = resource(handlers=[{"name": "b"}])
    held = seen("a", "b", "c", "d")
    for _ in range(3):
        observed = replace(held, read_at=seen().read_at)
        decision = Decision(1, "ScaledDown", "", History())
        step = await scale_down.follow(resource(), FOUR, observed, decision, [other])
        assert step.decision.replicas is None

    assert [len(names) for names, _ in coordinator.cordoned] == [3, 3]


async def test_a_worker_that_bears_the_bare_name_of_its_pod_is_busy_too(
    fleet: Fleet, coordinator: RecordingCoordinator
) -> None:
    """Workers of earlier versions do, until their Deployments are rolled out anew."""
    old = [Hold("t", "d/f00d", 1, 1.0), Hold("u", "c/f00d", 1, 1.0)]
    await fleet.step(2, replace(seen(), shards=[ShardState(SHARD, held=old)]))

    assert coordinator.cordoned == [(["a", "b"], LONG)]
