"""A controller on a made-up clock: a fake cluster whose workers are ready at once, and a reading each second."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from sharded_queue.state import ShardState
from sharded_queue.tube import Shard
from sharded_queue_operator.cluster import pods, targets
from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.controller import apply, controller, entry, scale_down
from sharded_queue_operator.controller.controller import Controller
from sharded_queue_operator.polling.reader import Reading
from sharded_queue_operator.resource.status import TIME
from sharded_queue_operator.settings import Settings
from tests.unit.sharded_queue_operator.api_server import NAME, Server, body

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
IDLE = ShardState(Shard("a"), registered=5, settled=5, busy_seconds=0.1, born=7)


class Clock:
    """Seconds since the timeline began."""

    def __init__(self) -> None:
        self.now = 0.0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for module in (apply, controller, entry, scale_down, pods, targets):
            patch.setattr(module, "monotonic", lambda: self.now)
        patch.setattr(apply, "_clock", self.text)

    def text(self, at: float) -> str:
        return (BEGUN + timedelta(seconds=at)).strftime(TIME)


class Cluster(Server):
    """One resource and its Deployment."""

    def __init__(self, resource: dict[str, Any]) -> None:
        super().__init__()
        self.resource, self.deployment = resource, dict[str, Any]()
        self.lists = [{"items": [], "metadata": {"resourceVersion": "1"}}]

    @property
    def replicas(self) -> int:
        return int(self.deployment["spec"]["replicas"]) if self.deployment else 0

    @property
    def status(self) -> dict[str, Any]:  # type: ignore[override]
        return self.resource.get("status") or {}

    @status.setter
    def status(self, _: object) -> None:
        pass

    async def find(self, path: str) -> Any:
        return self.deployment or None if "deployments/" in path else None

    async def apply(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        self.applied += 1
        return self.scale(int(manifest["spec"]["replicas"]), manifest)

    def scale(self, replicas: int, manifest: dict[str, Any] | None = None, manager: str = "") -> dict[str, Any]:
        """As anybody may; its pods are there and ready at once."""
        before = manifest or self.deployment
        version = str(int((self.deployment.get("metadata") or {}).get("resourceVersion", 0)) + 1)
        fields = [{"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
        metadata = {**before["metadata"], "resourceVersion": version, "uid": "d", "managedFields": fields}
        status = {"replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas}
        self.deployment = {
            **before,
            "metadata": metadata,
            "spec": {**before["spec"], "replicas": replicas},
            "status": status,
        }
        return self.deployment

    async def merge(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        version = str(int(self.resource["metadata"]["resourceVersion"]) + 1)
        metadata = {**self.resource["metadata"], "resourceVersion": version}
        if path.endswith("/status"):
            status = {**self.status, **patch["status"]}
            kept = {key: value for key, value in status.items() if value is not None}
            self.resource = {**self.resource, "metadata": metadata, "status": kept}
        else:
            metadata["generation"] += 1
            spec = {key: value for key, value in self.resource["spec"].items() if key not in patch["spec"]}
            self.resource = {**self.resource, "metadata": metadata, "spec": spec}
        return self.resource


class Timeline:
    """*is_eager*: every reading is reconciled, as a controller without deadlines would."""

    def __init__(self, patch: pytest.MonkeyPatch, *, is_eager: bool = False, **spec: Any) -> None:
        self.clock, self.reconciled, self.is_eager = Clock(), 0, is_eager
        self.clock.install(patch)
        self.cluster = Cluster(body(**spec))
        self.controller = Controller(cast("Api", self.cluster), Settings())
        patch.setattr(self.controller.observer, "subscribe", lambda _: None)

    async def begin(self) -> None:
        self.controller.resource_changed(self.cluster.resource)
        await self.work()

    async def read(self, state: ShardState) -> None:
        """A second passes, and *state* is read."""
        self.clock.now += 1
        if self.is_eager:
            self.controller.entries[NAME].is_stirred = True
        self.controller.on_reading(NAME, Reading(self.clock.now, (state,)))
        await self.work()

    async def rest(self, seconds: int, state: ShardState = IDLE, until: Callable[[], bool] | None = None) -> int:
        """The seconds that passed until something is true, or all."""
        for second in range(1, seconds + 1):
            await self.read(state)
            if until and until():
                return second
        return seconds

    async def work(self) -> None:
        while len(self.controller.queue):
            async with self.controller.queue.next() as name:
                await self.controller.reconcile(name)
            self.reconciled += 1

    def condition(self, type_: str) -> dict[str, Any]:
        found: Iterable[dict[str, Any]] = self.cluster.status.get("conditions") or []
        return next((each for each in found if each["type"] == type_), {})

    async def close(self) -> None:
        self.controller.queue.forget(NAME)
        self.controller._watchdog.close()
        await self.controller.observer.close()
