"""What becomes of resources that cannot be served, before a fake API server."""

from contextlib import suppress
from time import monotonic
from typing import Any

import pytest

from sharded_queue.state import ShardState
from sharded_queue.tube import Shard
from sharded_queue_operator import metrics
from sharded_queue_operator.controller import controller as module
from sharded_queue_operator.controller.controller import TRIES, Controller
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.polling.reader import Reading
from sharded_queue_operator.resource import spec as resources
from sharded_queue_operator.resource.mark import ORIGINAL, SCALED_BY
from sharded_queue_operator.resource.spec import ACCEPT
from sharded_queue_operator.scaling.observation import Doubt
from tests.unit.sharded_queue_operator.api_server import NAME, Server, body


def hear(controller: Controller) -> None:
    controller.on_reading(NAME, Reading(monotonic(), doubt=Doubt("RedisUnreachable", "no answer")))


async def reconcile(controller: Controller) -> None:
    with suppress(ApiRefused):
        async with controller.queue.next() as name:
            await controller.reconcile(name)


async def test_a_refusal_that_may_be_transient_is_reported_after_some_tries(
    controller: Controller, server: Server
) -> None:
    """It may be permanent, as where a webhook fails; the resource once had no condition then."""
    controller.resource_changed(body())
    hear(controller)
    for _ in range(TRIES):
        await reconcile(controller)
        assert server.told == {}
        controller.queue.wake(NAME)
    await reconcile(controller)

    (ready,) = server.told["conditions"]
    assert (ready["status"], ready["reason"]) == ("False", "WorkloadRefused")
    assert server.message in ready["message"]


async def test_a_template_that_the_server_cannot_read_is_reported_at_once(
    controller: Controller, server: Server
) -> None:
    """It is answered with 500; the resource once had no condition for ever."""
    server.message = "failed to create typed patch object: .spec.unheard: field not declared in schema"
    controller.resource_changed(body())
    hear(controller)
    await reconcile(controller)

    (ready,) = server.told["conditions"]
    assert ready["message"] == server.message


async def test_a_refused_write_is_not_repeated_at_each_reading(controller: Controller, server: Server) -> None:
    server.status = 422
    controller.resource_changed(body())
    hear(controller)
    await reconcile(controller)
    hear(controller)

    assert len(controller.queue) == 0
    assert server.applied == 1

    controller.resource_changed(body(version=2, suspend=True))
    await reconcile(controller)
    assert server.applied == 2


async def test_no_spec_ends_the_work_for_others(
    controller: Controller, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(module, "parsed", fall)
    controller.resource_changed(body())
    await reconcile(controller)

    (ready,) = server.told["conditions"]
    assert (ready["status"], ready["reason"]) == ("False", "BadSpec")
    assert "of all things" in ready["message"]


async def test_a_resource_without_readings_is_reported_as_unknown(
    controller: Controller, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poller that forgot a resource once left every condition of it fine."""
    monkeypatch.setattr(controller.observer, "subscribe", lambda _: None)
    monkeypatch.setattr(resources, "STALE_SECONDS", 0.01)
    monkeypatch.setattr(resources, "POLLS_UNTIL_STALE", 0.01)
    server.applies = True
    controller.resource_changed(body())
    await reconcile(controller)
    assert server.told == {}
    await reconcile(controller)

    known = {condition["type"]: condition for condition in server.told["conditions"]}["QueueKnown"]
    assert (known["status"], known["reason"]) == ("False", "StaleObservation")
    assert known["message"] == "no reading came for 0 s, though one is due every 1 s"

    hear(controller)
    await reconcile(controller)
    assert {condition["reason"] for condition in server.told["conditions"]} >= {"RedisUnreachable"}


def lose(controller: Controller) -> None:
    """Redis has nothing of a shard that it held before."""
    for born in (7, None):
        controller.on_reading(NAME, Reading(monotonic(), (ShardState(Shard("a"), born=born),)))
        entry = controller.entries[NAME]
        assert entry.reading
        entry.history = entry.history if born is None else entry.history.with_counters(entry.reading.shards)


def reason(server: Server) -> str:
    return str(server.told["reason"])


async def test_another_address_ends_the_loss_of_data(controller: Controller, server: Server) -> None:
    """A queue that was moved to another Redis on purpose once reported the loss for ever."""
    server.applies = True
    controller.resource_changed(body())
    lose(controller)
    await reconcile(controller)
    assert reason(server) == "DataLost"

    controller.resource_changed(body(2, redis={"addresses": ["127.0.0.1:2"]}))
    assert controller.entries[NAME].reading is None
    controller.on_reading(NAME, Reading(monotonic(), (ShardState(Shard("a")),)))
    await reconcile(controller)
    assert reason(server) == "AsWished"
    assert server.told["handlers"] == [{"name": "a", "born": [0]}]


async def test_a_person_can_accept_a_loss_of_data_once(controller: Controller, server: Server) -> None:
    server.applies = True
    controller.resource_changed(body())
    lose(controller)
    await reconcile(controller)
    assert reason(server) == "DataLost"

    controller.resource_changed(annotated(2, "yes"))
    await reconcile(controller)
    assert reason(server) == "AsWished"

    lose(controller)
    controller.resource_changed(annotated(3, "yes"))
    await reconcile(controller)
    assert reason(server) == "DataLost"


def annotated(version: int, word: str) -> dict[str, Any]:
    found = body(version)
    found["metadata"] |= {"generation": 1, "annotations": {ACCEPT: word}}
    return found


async def test_a_pin_that_is_over_is_removed_unless_the_resource_changed_meanwhile(
    controller: Controller, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched: list[dict[str, Any]] = []
    merge = server.merge

    async def recording(path: str, patch: dict[str, Any]) -> dict[str, Any]:
        if path.endswith("/status"):
            return await merge(path, patch)
        patched.append(patch)
        return {}

    monkeypatch.setattr(server, "merge", recording)
    server.applies = True
    pinned = body(replicas=3, pinSeconds=60)
    pinned["status"] = {"pin": {"replicas": 3, "since": "2026-01-01T00:00:00Z"}}
    controller.resource_changed(pinned)
    hear(controller)
    await reconcile(controller)

    assert patched == [{"metadata": {"resourceVersion": "1"}, "spec": {"replicas": None}}]


async def test_what_a_deleted_resource_scaled_is_restored_at_once(
    controller: Controller, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = {"labels": {SCALED_BY: "n"}, "annotations": {ORIGINAL: "3"}}
    target = {
        "metadata": {"namespace": "shop", "name": "mine", "resourceVersion": "1", **mark},
        "spec": {"replicas": 0},
    }
    patched: list[dict[str, Any]] = []

    async def find(path: str) -> dict[str, Any]:
        return target

    async def merge(path: str, patch: dict[str, Any]) -> dict[str, Any]:
        patched.append(patch)
        return {}

    monkeypatch.setattr(server, "find", find)
    monkeypatch.setattr(server, "merge", merge)
    queue = body(scaleTargetRef={"name": "mine"})
    del queue["spec"]["worker"]
    controller.resource_changed(queue)
    controller.resource_gone(queue)
    await reconcile(controller)

    assert [patch["spec"] for patch in patched] == [{"replicas": 3}]


async def test_a_recommendation_is_a_metric_for_as_long_as_the_spec_is_valid(
    controller: Controller, server: Server
) -> None:
    """Another scaler follows it: without a number it keeps the workers, and an old number would look current."""

    def recommended() -> float | None:
        return metrics.registry.get_sample_value(
            "sharded_queue_recommended_replicas", {"namespace": "shop", "queue": "n"}
        )

    server.applies = True
    controller.resource_changed(body(scaling={"mode": "Recommend", "minReplicas": 2}))
    controller.on_reading(NAME, Reading(monotonic(), (ShardState(Shard("a")),)))
    await reconcile(controller)
    assert (recommended(), server.told["recommendedReplicas"]) == (2, 2)

    controller.resource_changed(body(version=2, scaling={"minReplicas": 11}))
    await reconcile(controller)
    assert recommended() is None
