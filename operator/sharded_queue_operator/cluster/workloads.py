"""
What runs the workers: the Deployment that a resource owns, or a workload of the user's that it scales.

A watch reports the Deployments that resources own; what is not known yet is read. A write happens only where the
server's object differs from what it should be.
"""

from typing import NamedTuple

from msgspec import json

from sharded_queue_operator.cluster.api import Api, apps, version_of
from sharded_queue_operator.cluster.drift import Applied, digest, part_of
from sharded_queue_operator.cluster.rollouts import Rollouts
from sharded_queue_operator.cluster.targets import Targets, owner_of
from sharded_queue_operator.errors import ApiRefused, NotOurs
from sharded_queue_operator.resource.deployment import (
    MANAGED_BY,
    MANAGER,
    QUEUE,
    Manifest,
    deployment,
    deployment_name,
    selector,
)
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.rendering import Rendering, annotate, is_same, render, stage_of
from sharded_queue_operator.resource.spec import Resource
from sharded_queue_operator.resource.workload import Workload


class Known(NamedTuple):
    """A Deployment that a resource owns. Its object is encoded: thousands of dicts would be most of this process."""

    version: int
    workload: Workload
    owners: tuple[str, ...]
    is_leaving: bool
    encoded: bytes
    template: str
    """Digest of the pod template."""
    revised_at: int
    """The generation that brought the template, as far as this process saw it change."""
    orphan_of: str = ""
    """The resource that may adopt it."""

    @classmethod
    def of(cls, body: Manifest, before: "Known | None" = None) -> "Known":
        metadata = body["metadata"]
        compact = {**body, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}
        owners = tuple(owner["uid"] for owner in metadata.get("ownerReferences") or [])
        is_leaving = bool(metadata.get("deletionTimestamp"))
        template = digest(body["spec"].get("template") or {})
        is_revised = before is not None and before.template != template
        revised_at = metadata.get("generation", 0) if is_revised else before.revised_at if before else 0
        workload, status = Workload.of(body), body.get("status") or {}
        if status.get("observedGeneration", 0) < revised_at:  # its status is that of the revision before
            workload = workload._replace(is_rolling_out=True, updated=0)
        encoded, orphan_of = json.encode(compact), _orphan_of(body)
        return cls(version_of(body), workload, owners, is_leaving, encoded, template, revised_at, orphan_of)

    def is_of(self, resource: Resource) -> bool:
        return resource.uid in self.owners or self.orphan_of == resource.name.name

    @property
    def body(self) -> Manifest:
        body: Manifest = json.decode(self.encoded)
        return body


class Wanted(NamedTuple):
    """
    What a Deployment should be, and what is written down on it. Without a *rendering*, the present template was made by
    a release that wrote nothing down: it can be scaled, and not be made anew.
    """

    manifest: Manifest
    rendering: Rendering | None


class Workloads:
    """A cache of what runs the workers of each resource, and the writes that keep it as it should be."""

    def __init__(self, api: Api, rollouts: Rollouts) -> None:
        self._api = api
        self.rollouts = rollouts
        self.known: dict[Name, Known] = {}
        self.targets = Targets(api)
        self._applied: dict[Name, Applied] = {}
        self._compared: dict[Name, tuple[Resource, int]] = {}
        """The resource and the version of its Deployment that were found to agree."""

    def keep(self, body: Manifest) -> Name | None:
        """Note a Deployment from the watch; the name of the resource that owns it."""
        name = Name.of(body)
        if name not in self.known or version_of(body) >= self.known[name].version:
            self.known[name] = Known.of(body, self.known.get(name))
            self._note_rollout(body)
        return owner_of(body)

    def _note_rollout(self, body: Manifest) -> None:
        rendering, owner = Rendering.of(body), owner_of(body)
        if owner:
            self.rollouts.note(owner, stage_of(body) if rendering and rendering.in_turn else None)

    def drop(self, body: Manifest) -> Name | None:
        self.lose(Name.of(body))
        return owner_of(body)

    def lose(self, name: Name) -> None:
        if name in self.known and (owner := owner_of(self.known[name].body)):
            self.rollouts.note(owner, None)
        for known in (self.known, self._applied, self._compared):
            known.pop(name, None)

    def forget_versions(self) -> None:
        """Versions went back: whatever comes next is newer than what is known."""
        self.known = {name: known._replace(version=0) for name, known in self.known.items()}

    def claim(self, resource: Resource) -> None:
        """Note what a resource asks for, in place of what it asked for before."""
        self.rollouts.claim(resource)
        self.targets.claim(resource)

    def forget(self, resource: Name) -> None:
        self.targets.forget(resource)

    async def find(self, resource: Resource) -> Workload | None:
        """
        The workload of a resource; None when it is not there.

        Raises:
            NotOurs: a Deployment of that name has another owner, or is still being deleted; or another resource scales
                it.
        """
        if ref := resource.spec.scale_target_ref:
            return await self.targets.find(resource, ref)
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
            if known.is_of(resource):  # the watch does not report the Deployments of others
                self.keep(found)
        if not known.is_of(resource):
            raise NotOurs(f"Deployment {name.name} exists already and is not owned by this resource")
        if known.is_leaving:
            raise NotOurs(f"Deployment {name.name} is being deleted")
        return known

    async def ensure(self, resource: Resource, workload: Workload | None, replicas: int) -> bool:
        """Make the workload what it should be, with *replicas*; whether that took a write."""
        if ref := resource.spec.scale_target_ref:
            return await self.targets.scale(resource, ref, workload, replicas)
        name = deployment_name(resource.name)
        if workload and workload.wanted == replicas and self._agrees(name, resource):
            return False
        wanted = self._wanted(name, resource, replicas)
        if wanted.rendering is None:
            return await self._resize(name, workload, replicas)
        await self._apply(name, resource, annotate(wanted.manifest, wanted.rendering), wanted)
        return True

    async def _apply(self, name: Name, resource: Resource, manifest: Manifest, wanted: Wanted) -> None:
        self.rollouts.note(resource.name, "UnderWay" if wanted.rendering and wanted.rendering.in_turn else None)
        try:
            self.keep(body := await self._api.apply(apps("deployments", name), manifest))
        except ApiRefused:
            if name in self.known:
                self._note_rollout(self.known[name].body)
            raise
        self._applied[name] = Applied(digest(wanted.manifest), digest(part_of(body, wanted.manifest)))

    async def _resize(self, name: Name, workload: Workload | None, replicas: int) -> bool:
        if workload and workload.wanted == replicas:
            return False
        self.keep(await self._api.merge(apps("deployments", name), {"spec": {"replicas": replicas}}))
        return True

    def _wanted(self, name: Name, resource: Resource, replicas: int) -> Wanted:
        """With the template that this release makes of the spec, or the present one while it waits for its turn."""
        manifest, known = deployment(resource, replicas), self.known.get(name)
        template: Manifest = manifest["spec"]["template"]
        body = known.body if known else None
        present = Rendering.of(body) if body else None
        if body is None or _is_template(body, present, template):
            self.rollouts.end_wait(resource.name)
            return Wanted(manifest, render(resource, template, in_turn=present is not None and present.in_turn))
        turn = self.rollouts.turn(resource, present, Workload.of(body), len(self.known))
        if turn != "Waits":
            return Wanted(manifest, render(resource, template, in_turn=turn == "Now"))
        if present is None or present.template is None:
            return Wanted(manifest, None)
        return Wanted({**manifest, "spec": {**manifest["spec"], "template": present.template}}, present)

    def _agrees(self, name: Name, resource: Resource) -> bool:
        """Whether the Deployment is as it should be, replicas aside; compared once for each version of the two."""
        known = self.known[name]
        before, at = self._compared.get(name, (None, 0))
        if before is resource and at == known.version and not self.rollouts.may_roll(resource.name, len(self.known)):
            return True
        is_same = self._is_wanted(known.body, self._wanted(name, resource, known.workload.wanted), resource)
        if is_same:
            self._compared[name] = resource, known.version
        return is_same

    def _is_wanted(self, body: Manifest, wanted: Wanted, resource: Resource) -> bool:
        if wanted.rendering is None:
            return True
        present = Rendering.of(body)
        if present is None or not (present.is_asked_by(resource) or wanted.rendering == present):
            return False
        ours, theirs = digest(wanted.manifest), digest(part_of(body, wanted.manifest))
        applied = self._applied.get(Name.of(body))
        return theirs == (applied.theirs if applied and applied.ours == ours else ours)


def _is_template(body: Manifest, present: Rendering | None, template: Manifest) -> bool:
    """Whether a Deployment has been given *template*; what no release wrote down is compared with what is there."""
    if present and present.template is not None:
        return is_same(present.template, template)
    return is_same(part_of(body["spec"].get("template"), template), template)


def _orphan_of(body: Manifest) -> str:
    """
    The resource whose Deployment this was until somebody deleted the resource alone; "" for all others. As a Deployment
    adopts pods: by labels, and only what no controller has.
    """
    metadata = body["metadata"]
    if any(owner.get("controller") for owner in metadata.get("ownerReferences") or []):
        return ""
    labels = metadata.get("labels") or {}
    queue: str = labels.get(QUEUE, "")
    pods = selector(Name(metadata["namespace"], queue))
    is_ours = {**pods, MANAGED_BY: MANAGER}.items() <= labels.items()
    return queue if is_ours and (body["spec"].get("selector") or {}).get("matchLabels") == pods else ""
