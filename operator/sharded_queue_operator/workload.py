"""
What runs the workers: the Deployment that a resource owns, or one of the user's that it scales.

Known Deployments come from a watch; what is not known yet is asked for. A write happens only where the server's object
differs from what it should be.
"""

import json
from hashlib import sha256
from time import monotonic
from typing import Any, NamedTuple

from sharded_queue_operator.api import Api, apps
from sharded_queue_operator.errors import NotOurs
from sharded_queue_operator.pods import Manifest, deployment, deployment_name, selector_text
from sharded_queue_operator.resource import Name, Resource, ScaleTargetRef

TARGET_SECONDS = 10.0
"""A workload of the user's is not watched: it is asked for so often, and before it is scaled."""

ITEM_KEYS = ("name", "mountPath", "uid")
"""What tells the items of a list apart, whatever others add between them."""


class Workload(NamedTuple):
    """A workload as the API server knows it: replicas that are wanted, that exist, and that are ready."""

    wanted: int
    existing: int
    ready: int
    selector: str
    version: str
    labels: dict[str, str]

    @classmethod
    def of(cls, body: Manifest) -> "Workload":
        spec, status, metadata = body["spec"], body.get("status") or {}, body["metadata"]
        return cls(
            spec.get("replicas", 1),
            status.get("replicas", 0),
            status.get("readyReplicas", 0),
            selector_text((spec.get("selector") or {}).get("matchLabels") or {}),
            metadata["resourceVersion"],
            metadata.get("labels") or {},
        )


class Applied(NamedTuple):
    """What was applied, and what the server made of it: defaults and spellings of its own are no drift."""

    ours: str
    theirs: str


class Workloads:
    def __init__(self, api: Api) -> None:
        self.api = api
        self.bodies: dict[Name, Manifest] = {}
        self.applied: dict[Name, Applied] = {}
        self.targets: dict[Name, tuple[float, Workload]] = {}

    def keep(self, body: Manifest) -> Name | None:
        """Note a Deployment from the watch; the name of the resource that owns it."""
        name = Name.of(body)
        if newer(body, self.bodies.get(name)):
            self.bodies[name] = slim(body)
        return owner_of(body)

    def drop(self, body: Manifest) -> Name | None:
        self.bodies.pop(Name.of(body), None)
        self.applied.pop(Name.of(body), None)
        return owner_of(body)

    def forget(self, resource: Name) -> None:
        self.targets.pop(resource, None)

    async def find(self, resource: Resource) -> Workload | None:
        """
        The workload of a resource; None when it is not there.

        Raises:
            NotOurs: a Deployment of that name belongs to somebody else, or is still being deleted.
        """
        if resource.spec.scale_target_ref:
            return await self.target(resource, resource.spec.scale_target_ref)
        body = await self.owned(resource)
        return Workload.of(body) if body else None

    async def owned(self, resource: Resource) -> Manifest | None:
        name = deployment_name(resource.name)
        if name not in self.bodies:
            found = await self.api.find(apps("deployments", name))
            if found is None:
                return None
            self.keep(found)
        body = self.bodies[name]
        if resource.uid not in [owner["uid"] for owner in body["metadata"].get("ownerReferences") or []]:
            raise NotOurs(f"Deployment {name.name} exists already and is not owned by this resource")
        if body["metadata"].get("deletionTimestamp"):
            raise NotOurs(f"Deployment {name.name} is being deleted")
        return body

    async def target(self, resource: Resource, ref: ScaleTargetRef) -> Workload:
        read_at, workload = self.targets.get(resource.name, (float("-inf"), None))
        if workload is None or monotonic() > read_at + TARGET_SECONDS:
            workload = Workload.of(await self.api.get(target_path(resource, ref)))
            self.targets[resource.name] = monotonic(), workload
        return workload

    async def settle(self, resource: Resource, workload: Workload | None, replicas: int) -> bool:
        """Make the workload what it should be; whether that took a write."""
        if resource.spec.scale_target_ref:
            return await self.scale(resource, resource.spec.scale_target_ref, workload, replicas)
        manifest = deployment(resource, replicas)
        name = deployment_name(resource.name)
        if workload and workload.wanted == replicas and not self.is_drifted(name, manifest):
            return False
        body = await self.api.apply(apps("deployments", name), manifest)
        self.keep(body)
        self.applied[name] = Applied(digest(manifest), digest(part_of(body, manifest)))
        return True

    async def scale(self, resource: Resource, ref: ScaleTargetRef, workload: Workload | None, replicas: int) -> bool:
        if workload and workload.wanted == replicas:
            return False
        self.targets.pop(resource.name, None)
        await self.api.merge(f"{target_path(resource, ref)}/scale", {"spec": {"replicas": replicas}})
        return True

    def is_drifted(self, name: Name, manifest: Manifest) -> bool:
        ours, theirs = digest(manifest), digest(part_of(self.bodies[name], manifest))
        applied = self.applied.get(name)
        return theirs != (applied.theirs if applied and applied.ours == ours else ours)


def target_path(resource: Resource, ref: ScaleTargetRef) -> str:
    return apps(f"{ref.kind.lower()}s", Name(resource.name.namespace, ref.name))


def owner_of(body: Manifest) -> Name | None:
    metadata = body["metadata"]
    owners = [owner["name"] for owner in metadata.get("ownerReferences") or [] if owner["kind"] == "ShardedQueue"]
    return Name(metadata["namespace"], owners[0]) if owners else None


def newer(body: Manifest, known: Manifest | None) -> bool:
    """Versions grow; an answer to our write may overtake the watch's older news."""
    return known is None or version(body) >= version(known)


def version(body: Manifest) -> int:
    return int(body["metadata"]["resourceVersion"])


def slim(body: Manifest) -> Manifest:
    """Without the bookkeeping of the server, which is most of an object."""
    return {**body, "metadata": {k: v for k, v in body["metadata"].items() if k != "managedFields"}}


def part_of(theirs: Any, ours: Any) -> Any:
    """What *theirs* says about all that *ours* speaks of."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {key: part_of(theirs.get(key), value) for key, value in ours.items()}
    if isinstance(ours, list) and isinstance(theirs, list):
        return part_of_list(theirs, ours)
    return theirs


def part_of_list(theirs: list[Any], ours: list[Any]) -> list[Any]:
    key = next((k for k in ITEM_KEYS if ours and all(isinstance(item, dict) and k in item for item in ours)), None)
    if key is None:
        return theirs
    items = {item.get(key): item for item in theirs if isinstance(item, dict)}
    return [part_of(items.get(item[key]), item) for item in ours]


def digest(manifest: Manifest) -> str:
    """Of everything but the replicas, which are compared as numbers."""
    spec = {key: value for key, value in (manifest.get("spec") or {}).items() if key != "replicas"}
    return sha256(json.dumps({**manifest, "spec": spec}, sort_keys=True).encode()).hexdigest()
