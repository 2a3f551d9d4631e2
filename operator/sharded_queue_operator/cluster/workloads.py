"""
What runs the workers: the Deployment that a resource owns, or one of the user's that it scales.

Known Deployments come from a watch; what is not known yet is asked for. A write happens only where the server's object
differs from what it should be.
"""

from hashlib import sha256
from time import monotonic
from typing import Any, NamedTuple

from msgspec import json

from sharded_queue_operator.cluster.api import Api, apps, version_of
from sharded_queue_operator.cluster.contest import UNDONE_SECONDS
from sharded_queue_operator.errors import Claimed, NotOurs
from sharded_queue_operator.resource.deployment import Manifest, deployment, deployment_name
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource, ScaleTargetRef
from sharded_queue_operator.resource.workload import Workload

TARGET_SECONDS = 60.0
"""From one look at a workload of the user's to the next; it is not watched. It is looked at before it is scaled too."""
MOVING_SECONDS = 5.0
"""The same while its pods are fewer or more than it wants, or not all ready, and while a write may be undone."""

ITEM_KEYS = ("name", "mountPath", "uid")
"""What tells the items of a list apart, whatever others add between them."""


class Known(NamedTuple):
    """A Deployment of ours, packed: thousands of them as dicts would be most of this process."""

    version: int
    workload: Workload
    owners: tuple[str, ...]
    is_leaving: bool
    packed: bytes

    @classmethod
    def of(cls, body: Manifest) -> "Known":
        metadata = body["metadata"]
        slim = {**body, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}
        owners = tuple(owner["uid"] for owner in metadata.get("ownerReferences") or [])
        is_leaving = bool(metadata.get("deletionTimestamp"))
        return cls(version_of(body), Workload.of(body), owners, is_leaving, json.encode(slim))

    @property
    def body(self) -> Manifest:
        body: Manifest = json.decode(self.packed)
        return body


class Applied(NamedTuple):
    """What was applied, and what the server made of it: defaults and spellings of its own are no drift."""

    ours: str
    theirs: str


class Workloads:
    def __init__(self, api: Api) -> None:
        self.api = api
        self.known: dict[Name, Known] = {}
        self.applied: dict[Name, Applied] = {}
        self.settled: dict[Name, tuple[Resource, int]] = {}
        """The resource and the version of its Deployment that were found to agree."""
        self.targets: dict[Name, tuple[float, Workload]] = {}
        self.scaled_at: dict[Name, float] = {}
        """When the replicas of a workload of the user's were last written."""
        self.claims: dict[str, dict[Name, str]] = {}
        """Workloads of users, the resources that name each, and when those were created."""

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
        for known in (self.known, self.applied, self.settled):
            known.pop(name, None)

    def forget_versions(self) -> None:
        """Versions went back: whatever comes next is newer than what is known."""
        self.known = {name: known._replace(version=0) for name, known in self.known.items()}

    def claim(self, resource: Resource) -> None:
        """Note which workload of a user's a resource names, in place of the one it named before."""
        self.forget(resource.name)
        if ref := resource.spec.scale_target_ref:
            self.claims.setdefault(target_path(resource, ref), {})[resource.name] = resource.created

    def forget(self, resource: Name) -> None:
        for known in (self.targets, self.scaled_at):
            known.pop(resource, None)
        for path in [path for path, claimants in self.claims.items() if resource in claimants]:
            del self.claims[path][resource]
            if not self.claims[path]:
                del self.claims[path]

    async def find(self, resource: Resource) -> Workload | None:
        """
        The workload of a resource; None when it is not there.

        Raises:
            NotOurs: a Deployment of that name belongs to somebody else, or is still being deleted; or another resource
                scales it.
        """
        if resource.spec.scale_target_ref:
            return await self.target(resource, resource.spec.scale_target_ref)
        known = await self.owned(resource)
        return known.workload if known else None

    async def owned(self, resource: Resource) -> Known | None:
        name = deployment_name(resource.name)
        known = self.known.get(name)
        if known is None:
            found = await self.api.find(apps("deployments", name))
            if found is None:
                return None
            known = Known.of(found)
            if resource.uid in known.owners:  # nobody tells us what becomes of the others
                self.keep(found)
        if resource.uid not in known.owners:
            raise NotOurs(f"Deployment {name.name} exists already and is not owned by this resource")
        if known.is_leaving:
            raise NotOurs(f"Deployment {name.name} is being deleted")
        return known

    async def target(self, resource: Resource, ref: ScaleTargetRef) -> Workload:
        path = target_path(resource, ref)
        if first := self.claimant(path, resource.name):
            raise Claimed(f"{ref.kind} {ref.name} is scaled by the ShardedQueue {first.name}, which is older")
        read_at, workload = self.targets.get(resource.name, (float("-inf"), None))
        stood_seconds = read_at - self.scaled_at.get(resource.name, float("-inf"))
        if workload is None or monotonic() > read_at + pause(workload, stood_seconds):
            body = await self.api.get(path)
            if owner := owner_of(body):
                raise Claimed(f"{ref.kind} {ref.name} is owned by the ShardedQueue {owner.name}")
            workload = Workload.of(body)
            self.targets[resource.name] = monotonic(), workload
        return workload

    def claimant(self, path: str, resource: Name) -> Name | None:
        """Who scales a workload instead of *resource*: of those that name it, the oldest does."""
        claims = self.claims.get(path, {resource: ""})
        first = min(claims, key=lambda name: (claims[name], name))
        return first if first != resource else None

    async def settle(self, resource: Resource, workload: Workload | None, replicas: int) -> bool:
        """Make the workload what it should be; whether that took a write."""
        if resource.spec.scale_target_ref:
            return await self.scale(resource, resource.spec.scale_target_ref, workload, replicas)
        name = deployment_name(resource.name)
        if workload and workload.wanted == replicas and self.is_settled(name, resource):
            return False
        manifest = deployment(resource, replicas)
        body = await self.api.apply(apps("deployments", name), manifest)
        self.keep(body)
        self.applied[name] = Applied(digest(manifest), digest(part_of(body, manifest)))
        return True

    async def scale(self, resource: Resource, ref: ScaleTargetRef, workload: Workload | None, replicas: int) -> bool:
        if workload and workload.wanted == replicas:
            return False
        self.targets.pop(resource.name, None)
        self.scaled_at[resource.name] = monotonic()
        await self.api.merge(f"{target_path(resource, ref)}/scale", {"spec": {"replicas": replicas}})
        return True

    def is_settled(self, name: Name, resource: Resource) -> bool:
        """Whether the Deployment says, replicas aside, what it should; compared once for each version of the two."""
        known = self.known[name]
        before, at = self.settled.get(name, (None, 0))
        if before is resource and at == known.version:
            return True
        manifest = deployment(resource, known.workload.wanted)
        ours, theirs = digest(manifest), digest(part_of(known.body, manifest))
        applied = self.applied.get(name)
        is_settled = theirs == (applied.theirs if applied and applied.ours == ours else ours)
        if is_settled:
            self.settled[name] = resource, known.version
        return is_settled


def pause(workload: Workload, stood_seconds: float) -> float:
    """
    How long what was read of a workload of the user's may stand. *stood_seconds*: from our last write of its replicas
    to the reading; who undoes it is to be noticed in time.
    """
    is_at_rest = workload.wanted == workload.existing == workload.ready
    return TARGET_SECONDS if is_at_rest and stood_seconds > UNDONE_SECONDS else MOVING_SECONDS


def target_path(resource: Resource, ref: ScaleTargetRef) -> str:
    return apps(f"{ref.kind.lower()}s", Name(resource.name.namespace, ref.name))


def owner_of(body: Manifest) -> Name | None:
    metadata = body["metadata"]
    owners = [owner["name"] for owner in metadata.get("ownerReferences") or [] if owner["kind"] == "ShardedQueue"]
    return Name(metadata["namespace"], owners[0]) if owners else None


def part_of(theirs: Any, ours: Any) -> Any:
    """What *theirs* says about all that *ours* speaks of."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {key: part_of(theirs.get(key), value) for key, value in ours.items()}
    if isinstance(ours, list) and isinstance(theirs, list):
        return part_of_list(theirs, ours)
    return theirs


def part_of_list(theirs: list[Any], ours: list[Any]) -> list[Any]:
    key = next((key for key in ITEM_KEYS if ours and tells_apart(key, ours)), None)
    if key is None:
        return theirs
    items = {key_of(item, key): item for item in theirs}
    return [part_of(items.get(item[key]), item) for item in ours]


def tells_apart(key: str, items: list[Any]) -> bool:
    names = {key_of(item, key) for item in items}
    return None not in names and len(names) == len(items)


def key_of(item: Any, key: str) -> str | None:
    value = item.get(key) if isinstance(item, dict) else None
    return value if isinstance(value, str) else None


def digest(manifest: Manifest) -> str:
    """Of everything but the replicas, which are compared as numbers."""
    spec = {key: value for key, value in (manifest.get("spec") or {}).items() if key != "replicas"}
    return sha256(json.encode({**manifest, "spec": spec}, order="sorted")).hexdigest()
