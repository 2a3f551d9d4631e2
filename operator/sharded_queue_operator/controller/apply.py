"""Decisions out: the workload, the status, events. What did not change is not written."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from time import monotonic
from typing import Any
from uuid import uuid4

from sharded_queue_operator import metrics
from sharded_queue_operator.cluster.api import Api, core, queues
from sharded_queue_operator.cluster.workloads import Workloads
from sharded_queue_operator.errors import ApiGone, ApiRefused
from sharded_queue_operator.resource import status
from sharded_queue_operator.resource.availability import Problem
from sharded_queue_operator.resource.conditions import Condition
from sharded_queue_operator.resource.deployment import MANAGER, Manifest
from sharded_queue_operator.resource.events import Event, events_of, scaled_event
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import API_VERSION, KIND, Resource
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.decide import Decision
from sharded_queue_operator.scaling.observation import Observation

log = logging.getLogger(__name__)

EMPTIED_SECONDS = 5.0
"""Between two writes of a status when its queue was emptied or got its first request: people wait for that."""

SLOWER = 2
"""A change that is hardly worth a write waits this many times `status_seconds`."""


class Applier:
    def __init__(self, api: Api, workloads: Workloads, identity: str, status_seconds: float) -> None:
        self._api = api
        self._workloads = workloads
        self._identity = identity
        self._status_seconds = status_seconds
        self._written_at: dict[Name, float] = {}
        self._due_at: dict[Name, float] = {}
        """When a status that differs from what is written is to be written."""
        self._unknown_fields: set[str] = set()
        """
        Fields of a status that the API server drops, since its CRD is older than this process. They would be written
        at each reconciliation. An upgrade of the CRD comes with a new process, which tries them again.
        """

    async def apply(
        self,
        resource: Resource,
        body: Manifest,
        workload: Workload | None,
        seen: Observation,
        decision: Decision,
        problems: Sequence[Problem] = (),
        other_conditions: Sequence[Condition] = (),
        pin: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Carry a decision out; the resource as the server knows it afterwards."""
        replicas = seen.replicas if decision.replicas is None else decision.replicas
        scaled_at = {}
        if await self._workloads.ensure(resource, workload, replicas):
            workload = await self._workloads.find(resource)
            if decision.replicas is not None:
                await self.emit(body, [scaled_event(decision, seen.replicas)])
                _count_scaling(resource.name, seen.replicas, replicas)
                scaled_at = {"lastScaleTime": now()}
        before: Manifest = body.get("status") or {}
        read = _clock(seen.read_at) if seen.shards else now()
        after = status.status_of(
            resource,
            workload,
            seen,
            decision,
            before=before,
            read_at=read,
            now=now(),
            problems=problems,
            other_conditions=[*other_conditions, self._workloads.rollouts.condition(resource.name)],
            pin=pin,
        )
        return await self.write_status(body, after | scaled_at)

    async def write_status(self, body: Manifest, after: Manifest) -> Manifest:
        """
        Write a status that changed: what is urgent at once, what is worth writing when the last write is some seconds
        old, and the rest when it is a multiple of that.
        """
        name, before = Name.of(body), body.get("status") or {}
        change = {key: value for key, value in status.patch(before, after).items() if key not in self._unknown_fields}
        self._due_at.pop(name, None)
        if not change:
            return body
        pause = 0.0 if status.is_urgent(before, after) else self._pause(before, after)
        if monotonic() < (due_at := self._written_at.get(name, -inf) + pause):
            self._due_at[name] = due_at
            return body
        self._written_at[name] = monotonic()
        try:
            written = await self._api.merge(f"{queues(name)}/status", {"status": change})
        except ApiGone:
            return body
        kept = written.get("status") or {}
        self._unknown_fields.update(key for key, value in change.items() if value is not None and key not in kept)
        await self.emit(body, events_of(before, after))
        return written

    async def remove_pin(self, body: Manifest, message: str) -> None:
        """
        Remove a number whose time is over, unless its author has changed the resource since. Where that is refused, the
        number is without effect, and this is tried again.
        """
        version = body["metadata"]["resourceVersion"]
        try:
            await self._api.merge(
                queues(Name.of(body)), {"metadata": {"resourceVersion": version}, "spec": {"replicas": None}}
            )
            await self.emit(body, [Event("Normal", "PinEnded", f"{message}; spec.replicas was removed")])
        except ApiRefused as error:
            log.warning("%s: spec.replicas cannot be removed: %s", Name.of(body), error)

    def next_write(self, name: Name) -> float:
        """When a status is to be written that was not worth a write yet; inf where it has been written."""
        return self._due_at.get(name, inf)

    def _pause(self, before: Manifest, after: Manifest) -> float:
        if status.is_emptied_or_filled(before, after):
            return min(EMPTIED_SECONDS, self._status_seconds)
        return self._status_seconds * (1 if status.is_worth_writing(before, after, now()) else SLOWER)

    async def emit(self, body: Manifest, events: list[Event]) -> None:
        for event in events:
            log.info("%s: %s: %s", Name.of(body), event.reason, event.message)
            try:
                await self._api.create(core("events", namespace=Name.of(body).namespace), self._manifest(body, event))
            except ApiRefused as error:
                log.warning("%s: the event was lost: %s", Name.of(body), error)

    def _manifest(self, body: Manifest, event: Event) -> Manifest:
        name, time = Name.of(body), now()
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": name.namespace, "name": f"{name.name}.{uuid4().hex[:16]}"},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "namespace": name.namespace,
                "name": name.name,
                "uid": body["metadata"]["uid"],
                "resourceVersion": body["metadata"]["resourceVersion"],
            },
            "type": event.type,
            "reason": event.reason,
            "message": status.short(event.message),
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
            "source": {"component": MANAGER},
            "reportingComponent": MANAGER,
            "reportingInstance": self._identity,
        }

    def forget(self, name: Name) -> None:
        self._written_at.pop(name, None)
        self._due_at.pop(name, None)


def _count_scaling(name: Name, before: int, after: int) -> None:
    metrics.scalings.labels(*name, "up" if after > before else "down").inc()


def now() -> str:
    return _clock(monotonic())


def _clock(at: float) -> str:
    """A moment of the monotonic clock, as the API server writes times."""
    return (datetime.now(UTC) + timedelta(seconds=at - monotonic())).strftime(status.TIME)
