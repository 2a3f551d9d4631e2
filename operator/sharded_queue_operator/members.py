"""
The worker pods of each resource: those that are there, and those that were and are not any more.

Pods of our own Deployments come from a watch; those of a Deployment of the user's are listed when they are asked for.
A pod that was never seen here is never spoken of: a worker may run anywhere.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from time import monotonic

from sharded_queue_operator.api import Api, core
from sharded_queue_operator.errors import ApiGone, ApiRefused
from sharded_queue_operator.pods import QUEUE, Manifest, deployment_name, selector, selector_text
from sharded_queue_operator.resource import Name, Resource
from sharded_queue_operator.victims import COST, FINAL_PHASES, Member
from sharded_queue_operator.workload import Workload

log = logging.getLogger(__name__)

LIST_SECONDS = 10.0
"""Pods that are not watched are listed so often, while somebody holds threads."""


class Members:
    def __init__(self, api: Api) -> None:
        self.api = api
        self.known: dict[Name, dict[str, Member]] = {}
        self.departed: dict[Name, dict[str, float]] = {}
        """Pods that are gone, and since when; until a reading shows that they hold nothing."""
        self.listed_at: dict[Name, float] = {}

    # News

    def keep(self, body: Manifest) -> Name | None:
        """Note a pod from the watch; the resource whose worker has just gone, if it has."""
        resource = resource_of(body)
        if resource is None:
            return None
        if is_final(body):
            return self.drop(body)
        member = Member.of(body)
        self.known.setdefault(resource, {})[member.name] = member
        self.departed.get(resource, {}).pop(member.name, None)
        return None

    def drop(self, body: Manifest) -> Name | None:
        """Note that a pod is gone; the resource whose worker it was, if it was known as one."""
        resource = resource_of(body)
        return resource if resource and self.depart(resource, {body["metadata"]["name"]}) else None

    def depart(self, resource: Name, names: Set[str]) -> Set[str]:
        known = self.known.get(resource, {})
        gone = names & known.keys()
        for name in gone:
            del known[name]
            self.departed.setdefault(resource, {})[name] = monotonic()
        return gone

    def forget(self, resource: Name) -> None:
        for known in (self.known, self.departed, self.listed_at):
            known.pop(resource, None)

    # Questions

    async def of(self, resource: Resource, workload: Workload) -> Sequence[Member]:
        """The pods of a workload; listed anew when fewer are known than exist, and when nobody watches them."""
        known = self.known.get(resource.name, {})
        if resource.spec.scale_target_ref or len(known) < workload.existing:
            await self.refresh(resource, workload.selector)
        return list(self.known.get(resource.name, {}).values())

    async def look(self, resource: Resource, workload: Workload) -> None:
        """Find out now and then which unwatched pods are gone."""
        due = self.listed_at.get(resource.name, float("-inf")) + LIST_SECONDS
        if resource.spec.scale_target_ref and monotonic() >= due:
            await self.refresh(resource, workload.selector)

    async def refresh(self, resource: Resource, labels: str) -> None:
        """Know all pods of a workload from a list; where that is refused, what is known stays."""
        target = deployment_of(resource)
        if not target or not labels:
            return
        self.listed_at[resource.name] = monotonic()
        try:
            found = await self.api.get(core("pods", namespace=resource.name.namespace), labelSelector=labels)
        except ApiRefused as error:
            log.warning("%s: its pods are not known: %s", resource.name, error)
            return
        pods = [body for body in found.get("items", []) if is_of(body, target) and not is_final(body)]
        members = {member.name: member for member in map(Member.of, pods)}
        self.depart(resource.name, self.known.get(resource.name, {}).keys() - members.keys())
        self.known[resource.name] = members

    def resynced(self, bodies: Sequence[Manifest], namespace: str) -> None:
        """What a watch should have told, from a list of all watched pods of a namespace, "" for all."""
        there = {Name.of(body) for body in bodies}
        for resource, known in self.known.items():
            if namespace in {"", resource.namespace} and resource not in self.listed_at:
                self.depart(resource, {name for name in known if Name(resource.namespace, name) not in there})
        for body in bodies:
            self.keep(body)

    def suspects(self, resource: Name, holders: Set[str], read_at: float) -> set[str]:
        """Pods that went before *read_at* and hold threads all the same. Others that went are not spoken of again."""
        departed = self.departed.get(resource, {})
        for name in [name for name, at in departed.items() if at < read_at and name not in holders]:
            del departed[name]
        return {name for name, at in departed.items() if at < read_at}

    async def is_gone(self, pod: Name) -> bool:
        """Asked of the server itself, as watches may be late, and labels may be taken from a pod that runs."""
        body = await self.api.find(core("pods", pod))
        return body is None or is_final(body)

    # Writes

    async def mark(self, resource: Name, costs: Mapping[str, int]) -> None:
        """Give pods their deletion costs. One that is refused is worth a line, but stops nobody."""
        pods = [(Name(resource.namespace, name), cost) for name, cost in costs.items()]
        await asyncio.gather(*(self.price(pod, cost) for pod, cost in pods))

    async def price(self, pod: Name, cost: int) -> None:
        try:
            with suppress(ApiGone):
                await self.api.merge(core("pods", pod), {"metadata": {"annotations": {COST: str(cost)}}})
        except ApiRefused as error:
            log.warning("%s has no deletion cost: %s", pod, error)


def deployment_of(resource: Resource) -> str | None:
    """The Deployment that makes the pods; None where a StatefulSet does, which knows no deletion cost."""
    ref = resource.spec.scale_target_ref
    if ref is None:
        return deployment_name(resource.name).name
    return ref.name if ref.kind == "Deployment" else None


def resource_of(body: Manifest) -> Name | None:
    """The resource that a pod of our own Deployments belongs to."""
    metadata = body["metadata"]
    queue = (metadata.get("labels") or {}).get(QUEUE)
    name = Name(metadata["namespace"], queue) if queue else None
    return name if name and is_of(body, deployment_name(name).name) else None


def is_of(body: Manifest, deployment: str) -> bool:
    """Whether a pod comes from a ReplicaSet of that Deployment, whatever labels somebody gave it."""
    metadata = body["metadata"]
    made_by = f"{deployment}-{(metadata.get('labels') or {}).get('pod-template-hash')}"
    owners = metadata.get("ownerReferences") or []
    return any(owner["kind"] == "ReplicaSet" and owner["name"] == made_by for owner in owners)


def is_final(body: Manifest) -> bool:
    """Whether its containers have ended for ever, though the object is still there."""
    return (body.get("status") or {}).get("phase") in FINAL_PHASES


def watched_pods() -> str:
    """The selector of all pods that belong to Deployments of ours."""
    name = "app.kubernetes.io/name"
    return selector_text({name: selector(Name("", ""))[name]})
