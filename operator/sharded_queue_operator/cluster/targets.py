"""
Workloads of users: which resource scales which, what is read of them, and what is left of a resource that is deleted.

The operator changes their replicas, and the mark by which it restores them.
"""

import logging
from math import inf
from time import monotonic
from typing import NamedTuple

from sharded_queue_operator.cluster.api import Api, apps
from sharded_queue_operator.cluster.contest import UNDONE_SECONDS
from sharded_queue_operator.errors import ApiGone, ApiRefused, Claimed
from sharded_queue_operator.resource.deployment import Manifest
from sharded_queue_operator.resource.mark import Mark, mark, restore, unmark
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource, ScaleTargetRef
from sharded_queue_operator.resource.workload import Workload

log = logging.getLogger(__name__)

REST_SECONDS = 60.0
"""Between two reads of a user's workload, which no watch reports. It is read before it is scaled too."""
MOVING_SECONDS = 5.0
"""The same while its pods are fewer or more than it wants, or not all ready, and while our write may be undone."""

FORBIDDEN = 403


class Target(NamedTuple):
    """A user's workload as it was read, and its mark."""

    read_at: float
    workload: Workload
    mark: Mark | None


class Targets:
    """A cache of users' workloads, by the resource that scales each."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.claims: dict[str, dict[Name, Resource]] = {}
        """The resources that name each workload."""
        self._read: dict[Name, Target] = {}
        self._scaled_at: dict[Name, float] = {}
        """When the replicas were last written."""
        self._left: dict[Name, dict[str, bool]] = {}
        """Workloads that a resource named until it changed or went, and whether to restore their replicas."""

    # Who scales which

    def claim(self, resource: Resource) -> None:
        """Note which workload a resource names, in place of the one it named before."""
        self.forget(resource.name)
        if ref := resource.spec.scale_target_ref:
            path = _path_of(resource, ref)
            self.claims.setdefault(path, {})[resource.name] = resource
            self._left.get(resource.name, {}).pop(path, None)

    def forget(self, resource: Name) -> None:
        """A resource names nothing any more."""
        for known in (self._read, self._scaled_at):
            known.pop(resource, None)
        for path in [path for path, claimants in self.claims.items() if resource in claimants]:
            self._leave(resource, path, self.claims[path].pop(resource).restores_target)
            if not self.claims[path]:
                del self.claims[path]

    def _leave(self, resource: Name, path: str, restores: bool) -> None:
        self._left.setdefault(resource, {})[path] = restores

    def sharers(self, resource: Resource) -> set[Name]:
        """Other resources that name the workload of *resource*: its workers may handle requests of these too."""
        ref = resource.spec.scale_target_ref
        return set(self.claims.get(_path_of(resource, ref), {})) - {resource.name} if ref else set()

    def _claimant(self, path: str, resource: Name) -> Name | None:
        """The resource that scales a workload instead of *resource*: the oldest of those that name it."""
        claims = self.claims.get(path, {})
        first = min(claims, key=lambda name: (claims[name].created, name), default=resource)
        return first if first != resource else None

    # Reads and writes

    async def find(self, resource: Resource, ref: ScaleTargetRef) -> Workload:
        path = _path_of(resource, ref)
        if first := self._claimant(path, resource.name):
            raise Claimed(f"{ref.kind} {ref.name} is scaled by the ShardedQueue {first.name}, which is older")
        known = self._read.get(resource.name)
        if known is None or monotonic() >= self.next_read(resource):
            body = await self._api.get(path)
            if owner := owner_of(body):
                raise Claimed(f"{ref.kind} {ref.name} is owned by the ShardedQueue {owner.name}")
            known = self._read[resource.name] = Target(monotonic(), Workload.of(body), Mark.of(body))
        return known.workload

    def next_read(self, resource: Resource) -> float:
        """When a workload that no watch reports is to be read again; inf where a watch does, -inf for at once."""
        if resource.spec.scale_target_ref is None:
            return inf
        if resource.name not in self._read:
            return -inf
        known = self._read[resource.name]
        return known.read_at + pause(known.workload, known.read_at - self._scaled_at.get(resource.name, -inf))

    async def scale(self, resource: Resource, ref: ScaleTargetRef, workload: Workload | None, replicas: int) -> bool:
        """Set the replicas; whether that took a write."""
        path, is_right = _path_of(resource, ref), workload is not None and workload.wanted == replicas
        await self._renew_mark(resource, path, is_right)
        if is_right:
            return False
        self._read.pop(resource.name, None)
        self._scaled_at[resource.name] = monotonic()
        await self._api.merge(f"{path}/scale", {"spec": {"replicas": replicas}})
        return True

    async def _renew_mark(self, resource: Resource, path: str, is_right: bool) -> None:
        """Mark a workload before its replicas are changed, and no longer when its resource is not to restore them."""
        known = self._read.get(resource.name)
        queue = known.mark.queue if known and known.mark else None
        if resource.restores_target and not is_right and queue != resource.name.name:
            await self._mark(resource, path)
        elif queue is not None and not resource.restores_target:
            self._read.pop(resource.name, None)
            await self._api.merge(path, unmark(await self._api.get(path)))

    async def _mark(self, resource: Resource, path: str) -> None:
        """A workload that may not be marked is scaled all the same."""
        try:
            await self._api.merge(path, mark(await self._api.get(path), resource.name.name))
        except ApiRefused as error:
            if error.status != FORBIDDEN:
                raise
            log.warning("%s: its deletion will not restore what it scales: %s", resource.name, error)

    # What a resource leaves behind

    def is_left(self, path: str) -> bool:
        """Whether no resource names a workload."""
        return path not in self.claims

    def leave(self, path: str, body: Manifest) -> Name | None:
        """Note a marked workload that no resource names; the resource that scaled it."""
        found = Mark.of(body)
        if found is None or not self.is_left(path):
            return None
        resource = Name(body["metadata"]["namespace"], found.queue)
        self._leave(resource, path, restores=True)
        return resource

    async def release(self, resource: Name) -> None:
        """Restore what a resource has left, unless another one names it now."""
        while left := self._left.pop(resource, None):
            path, restores = left.popitem()
            if left:
                self._left[resource] = left
            try:
                if self.is_left(path):
                    await self._release(path, restores)
            except ApiRefused:
                self._leave(resource, path, restores)
                raise

    async def _release(self, path: str, restores: bool) -> None:
        body = await self._api.find(path)
        if body is None or Mark.of(body) is None or body["metadata"].get("deletionTimestamp"):
            return
        patch = restore(body) if restores else unmark(body)
        try:
            await self._api.merge(path, patch)
        except ApiGone:
            return
        log.info("%s was released with %s", path, patch.get("spec", "the replicas that it has"))


def pause(workload: Workload, stood_seconds: float) -> float:
    """
    How long a read of a user's workload stays valid. *stood_seconds*: from our last write of its replicas to the read.
    A writer that undoes our write must be noticed in time.
    """
    is_at_rest = workload.wanted == workload.existing == workload.ready
    return REST_SECONDS if is_at_rest and stood_seconds > UNDONE_SECONDS else MOVING_SECONDS


def _path_of(resource: Resource, ref: ScaleTargetRef) -> str:
    return apps(f"{ref.kind.lower()}s", Name(resource.name.namespace, ref.name))


def owner_of(body: Manifest) -> Name | None:
    metadata = body["metadata"]
    owners = [owner["name"] for owner in metadata.get("ownerReferences") or [] if owner["kind"] == "ShardedQueue"]
    return Name(metadata["namespace"], owners[0]) if owners else None
