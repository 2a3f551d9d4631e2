"""
What runs the workers: the Deployment that a resource owns, or a workload of the user's that it scales.

A watch reports the Deployments that resources own; what is not known yet is read. A write happens only where the
server's object differs from what it should be.
"""

from time import monotonic
from typing import NamedTuple

from msgspec import json

from sharded_queue_operator.cluster.api import Api, apps, version_of
from sharded_queue_operator.cluster.contest import UNDONE_SECONDS
from sharded_queue_operator.cluster.drift import Applied, digest, part_of
from sharded_queue_operator.errors import Claimed, NotOurs
from sharded_queue_operator.resource.deployment import Manifest, deployment, deployment_name
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource, ScaleTargetRef
from sharded_queue_operator.resource.workload import Workload

TARGET_SECONDS = 60.0
"""Between two reads of a user's workload, which no watch reports. It is read before it is scaled too."""
MOVING_SECONDS = 5.0
"""The same while its pods are fewer or more than it wants, or not all ready, and while our write may be undone."""


class Known(NamedTuple):
    """A Deployment that a resource owns. Its object is encoded: thousands of dicts would be most of this process."""

    version: int
    workload: Workload
    owners: tuple[str, ...]
    is_leaving: bool
    encoded: bytes

    @classmethod
    def of(cls, body: Manifest) -> "Known":
        metadata = body["metadata"]
        compact = {**body, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}
        owners = tuple(owner["uid"] for owner in metadata.get("ownerReferences") or [])
        is_leaving = bool(metadata.get("deletionTimestamp"))
        return cls(version_of(body), Workload.of(body), owners, is_leaving, json.encode(compact))

    @property
    def body(self) -> Manifest:
        body: Manifest = json.decode(self.encoded)
        return body


class Workloads:
    """A cache of what runs the workers of each resource, and the writes that keep it as it should be."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.known: dict[Name, Known] = {}
        self.claims: dict[str, dict[Name, str]] = {}
        """Users' workloads, the resources that name each, and when these were created."""
        self._applied: dict[Name, Applied] = {}
        self._compared: dict[Name, tuple[Resource, int]] = {}
        """The resource and the version of its Deployment that were found to agree."""
        self._targets: dict[Name, tuple[float, Workload]] = {}
        """Users' workloads, by the resource that scales each, and when they were read."""
        self._scaled_at: dict[Name, float] = {}
        """When the replicas of a user's workload were last written."""

    def keep(self, body: Manifest) -> Name | None:
        """Note a Deployment from the watch; the name of the resource that owns it."""
        name = Name.of(body)
        if name not in self.known or version_of(body) >= self.known[name].version:
            self.known[name] = Known.of(body)
        return owner_of(body)

    def drop(self, body: Manifest) -> Name | None:
        self.lose(Name.of(body))
        return owner_of(body)

    def lose(self, name: Name) -> None:
        for known in (self.known, self._applied, self._compared):
            known.pop(name, None)

    def forget_versions(self) -> None:
        """Versions went back: whatever comes next is newer than what is known."""
        self.known = {name: known._replace(version=0) for name, known in self.known.items()}

    def claim(self, resource: Resource) -> None:
        """Note which user's workload a resource names, in place of the one it named before."""
        self.forget(resource.name)
        if ref := resource.spec.scale_target_ref:
            self.claims.setdefault(_target_path(resource, ref), {})[resource.name] = resource.created

    def forget(self, resource: Name) -> None:
        for known in (self._targets, self._scaled_at):
            known.pop(resource, None)
        for path in [path for path, claimants in self.claims.items() if resource in claimants]:
            del self.claims[path][resource]
            if not self.claims[path]:
                del self.claims[path]

    async def find(self, resource: Resource) -> Workload | None:
        """
        The workload of a resource; None when it is not there.

        Raises:
            NotOurs: a Deployment of that name has another owner, or is still being deleted; or another resource scales
                it.
        """
        if resource.spec.scale_target_ref:
            return await self._target(resource, resource.spec.scale_target_ref)
        known = await self._owned(resource)
        return known.workload if known else None

    async def _owned(self, resource: Resource) -> Known | None:
        name = deployment_name(resource.name)
        known = self.known.get(name)
        if known is None:
            found = await self._api.find(apps("deployments", name))
            if found is None:
                return None
            known = Known.of(found)
            if resource.uid in known.owners:  # the watch does not report the Deployments of others
                self.keep(found)
        if resource.uid not in known.owners:
            raise NotOurs(f"Deployment {name.name} exists already and is not owned by this resource")
        if known.is_leaving:
            raise NotOurs(f"Deployment {name.name} is being deleted")
        return known

    async def _target(self, resource: Resource, ref: ScaleTargetRef) -> Workload:
        path = _target_path(resource, ref)
        if first := self._claimant(path, resource.name):
            raise Claimed(f"{ref.kind} {ref.name} is scaled by the ShardedQueue {first.name}, which is older")
        read_at, workload = self._targets.get(resource.name, (float("-inf"), None))
        stood_seconds = read_at - self._scaled_at.get(resource.name, float("-inf"))
        if workload is None or monotonic() > read_at + pause(workload, stood_seconds):
            body = await self._api.get(path)
            if owner := owner_of(body):
                raise Claimed(f"{ref.kind} {ref.name} is owned by the ShardedQueue {owner.name}")
            workload = Workload.of(body)
            self._targets[resource.name] = monotonic(), workload
        return workload

    def _claimant(self, path: str, resource: Name) -> Name | None:
        """The resource that scales a workload instead of *resource*: the oldest of those that name it."""
        claims = self.claims.get(path, {resource: ""})
        first = min(claims, key=lambda name: (claims[name], name))
        return first if first != resource else None

    async def ensure(self, resource: Resource, workload: Workload | None, replicas: int) -> bool:
        """Make the workload what it should be, with *replicas*; whether that took a write."""
        if resource.spec.scale_target_ref:
            return await self._scale(resource, resource.spec.scale_target_ref, workload, replicas)
        name = deployment_name(resource.name)
        if workload and workload.wanted == replicas and self._agrees(name, resource):
            return False
        manifest = deployment(resource, replicas)
        body = await self._api.apply(apps("deployments", name), manifest)
        self.keep(body)
        self._applied[name] = Applied(digest(manifest), digest(part_of(body, manifest)))
        return True

    async def _scale(self, resource: Resource, ref: ScaleTargetRef, workload: Workload | None, replicas: int) -> bool:
        if workload and workload.wanted == replicas:
            return False
        self._targets.pop(resource.name, None)
        self._scaled_at[resource.name] = monotonic()
        await self._api.merge(f"{_target_path(resource, ref)}/scale", {"spec": {"replicas": replicas}})
        return True

    def _agrees(self, name: Name, resource: Resource) -> bool:
        """Whether the Deployment is as it should be, replicas aside; compared once for each version of the two."""
        known = self.known[name]
        before, at = self._compared.get(name, (None, 0))
        if before is resource and at == known.version:
            return True
        manifest = deployment(resource, known.workload.wanted)
        ours, theirs = digest(manifest), digest(part_of(known.body, manifest))
        applied = self._applied.get(name)
        is_same = theirs == (applied.theirs if applied and applied.ours == ours else ours)
        if is_same:
            self._compared[name] = resource, known.version
        return is_same


def pause(workload: Workload, stood_seconds: float) -> float:
    """
    How long a read of a user's workload stays valid. *stood_seconds*: from our last write of its replicas to the read.
    A writer that undoes our write must be noticed in time.
    """
    is_at_rest = workload.wanted == workload.existing == workload.ready
    return TARGET_SECONDS if is_at_rest and stood_seconds > UNDONE_SECONDS else MOVING_SECONDS


def _target_path(resource: Resource, ref: ScaleTargetRef) -> str:
    return apps(f"{ref.kind.lower()}s", Name(resource.name.namespace, ref.name))


def owner_of(body: Manifest) -> Name | None:
    metadata = body["metadata"]
    owners = [owner["name"] for owner in metadata.get("ownerReferences") or [] if owner["kind"] == "ShardedQueue"]
    return Name(metadata["namespace"], owners[0]) if owners else None
