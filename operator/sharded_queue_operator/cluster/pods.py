"""
The worker pods of each resource: those that are there, and those whose containers have ended by the word of a kubelet.

Pods of our own Deployments come from a watch; those of a workload of the user's are listed when they are asked for. The
uids of their owners say which resource pods belong to, because anyone may give a pod names and labels. A pod that was
never seen here is left alone: a worker may run anywhere.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from sharded_queue_operator.cluster.api import Api, apps, core
from sharded_queue_operator.cluster.victims import FINAL_PHASES, Annotations, Maker, Member
from sharded_queue_operator.errors import ApiGone, ApiRefused
from sharded_queue_operator.resource.availability import Problem
from sharded_queue_operator.resource.deployment import QUEUE, Manifest, selector, selector_text, worker_name
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource
from sharded_queue_operator.resource.workload import Workload

log = logging.getLogger(__name__)

POD_METADATA = (
    *("namespace", "name", "uid", "resourceVersion", "labels", "annotations", "ownerReferences"),
    *("creationTimestamp", "deletionTimestamp"),
)
POD_STATUS = ("phase", "reason", "conditions", "containerStatuses", "initContainerStatuses")
"""Of a pod, what this module and those that it calls look at."""

LIST_SECONDS = 60.0
"""Between two lists of pods that are not watched, while they hold threads. Their leases, of 15 s by default, mostly end
before; a thousand busy queues are 17 lists a second."""


class Ended(NamedTuple):
    """A pod whose containers have ended for ever, and since when that is known."""

    uid: str
    maker: Maker
    at: float


class Members:
    def __init__(self, api: Api) -> None:
        self.api = api
        self.known: dict[Name, dict[str, Member]] = {}
        self.ended: dict[Name, dict[str, Ended]] = {}
        """Until a reading shows that they hold nothing."""
        self.listed_at: dict[Name, float] = {}
        """Of the resources whose pods are not watched."""
        self.deployments: dict[Name, dict[str, str]] = {}
        """The uids of ReplicaSets, and those of the Deployments that made them."""

    # News

    def keep(self, body: Manifest) -> Name | None:
        """Note a pod from the watch; the resource whose worker has just ended, if it has."""
        resource = resource_of(body)
        if resource is None:
            return None
        if is_final(body):
            return self.drop(body)
        member = Member.of(body)
        self.known.setdefault(resource, {})[member.name] = member
        self.ended.get(resource, {}).pop(member.name, None)
        return None

    def drop(self, body: Manifest) -> Name | None:
        """Note that a pod is there no more; the resource whose worker it was, if it has ended for certain."""
        resource = resource_of(body)
        if resource is None or self.known.get(resource, {}).pop(body["metadata"]["name"], None) is None:
            return None
        return resource if self.end(resource, body) else None

    def end(self, resource: Name, body: Manifest) -> bool:
        """Note a pod that has ended; without a kubelet's word for it, its threads wait for their leases."""
        if not has_ended(body):
            return False
        metadata = body["metadata"]
        ended = Ended(metadata["uid"], Maker.of(body), monotonic())
        self.ended.setdefault(resource, {})[metadata["name"]] = ended
        return True

    def forget(self, resource: Name) -> None:
        for known in (self.known, self.ended, self.listed_at, self.deployments):
            known.pop(resource, None)

    # Questions

    async def problems(self, resource: Name, workload: Workload | None) -> list[Problem]:
        """What keeps the pods of a workload from becoming ready, those that are about to go left aside."""
        members = await self.ours(resource, workload) if workload else []
        return [member.problem for member in members if member.problem and not member.is_leaving]

    async def of(self, resource: Resource, workload: Workload) -> Sequence[Member]:
        """The pods of a workload; listed anew when fewer are known than exist, and when nobody watches them."""
        found = await self.ours(resource.name, workload)
        if resource.spec.scale_target_ref or len(found) < workload.existing:
            await self.refresh(resource, workload.selector)
            found = await self.ours(resource.name, workload)
        return found

    async def ours(self, resource: Name, workload: Workload) -> list[Member]:
        known = list(self.known.get(resource, {}).values())
        return [member for member in known if await self.is_of(resource, workload, member.maker)]

    async def is_of(self, resource: Name, workload: Workload, maker: Maker) -> bool:
        """Whether a workload made a pod, itself or through a ReplicaSet."""
        if not maker.uid or not workload.uid:
            return False
        if maker.uid == workload.uid:
            return True
        deployments = self.deployments.setdefault(resource, {})
        if maker.kind == "ReplicaSet" and deployments.get(maker.uid) != workload.uid:
            deployments[maker.uid] = await self.deployment_of(resource.namespace, maker)
        return deployments.get(maker.uid) == workload.uid

    async def deployment_of(self, namespace: str, replica_set: Maker) -> str:
        """The uid of the Deployment that made a ReplicaSet; "" when there is none, or the server does not say."""
        try:
            body = await self.api.find(apps("replicasets", Name(namespace, replica_set.name)))
        except ApiRefused as error:
            log.warning("%s/%s: it is not known whose pods these are: %s", namespace, replica_set.name, error)
            return ""
        is_same = body is not None and body["metadata"]["uid"] == replica_set.uid
        return Maker.of(body).uid if body and is_same else ""

    async def look(self, resource: Resource, workload: Workload) -> None:
        """Find out now and then which unwatched pods have ended."""
        due = self.listed_at.get(resource.name, float("-inf")) + LIST_SECONDS
        if resource.spec.scale_target_ref and monotonic() >= due:
            await self.refresh(resource, workload.selector)

    async def refresh(self, resource: Resource, labels: str) -> None:
        """Know all pods of a workload from a list; where that is refused, what is known stays."""
        if not labels:
            return
        if resource.spec.scale_target_ref:
            self.listed_at[resource.name] = monotonic()
        try:
            found = await self.api.get(core("pods", namespace=resource.name.namespace), labelSelector=labels)
        except ApiRefused as error:
            log.warning("%s: its pods are not known: %s", resource.name, error)
            return
        self.replace(resource.name, found.get("items", []))

    def replace(self, resource: Name, bodies: Sequence[Manifest]) -> None:
        """All pods of a resource, from a list."""
        before = self.known.get(resource, {})
        members = [Member.of(body) for body in bodies if not is_final(body)]
        self.known[resource] = {member.name: member for member in members}
        for body in bodies:
            if is_final(body) and body["metadata"]["name"] in before:
                self.end(resource, body)

    async def resynced(self, bodies: Sequence[Manifest], namespace: str) -> None:
        """
        What a watch should have told, from a list of all watched pods of a namespace, "" for all. Others have a turn
        between two resources: ten thousand pods take a third of a second.
        """
        listed: dict[Name, list[Manifest]] = {}
        for body in bodies:
            if resource := resource_of(body):
                listed.setdefault(resource, []).append(body)
        watched = {name for name in self.known if name.is_in(namespace) and name not in self.listed_at}
        for resource in watched | listed.keys():
            self.replace(resource, listed.get(resource, []))
            await asyncio.sleep(0)

    def suspects(self, resource: Name, holders: Set[str], read_at: float) -> dict[str, Ended]:
        """
        Pods that ended before *read_at* and hold threads all the same, by the names of their workers. Others that
        ended are not spoken of again.
        """
        ended = self.ended.get(resource, {})
        early = {name: each for name, each in ended.items() if each.at < read_at}
        for name in early.keys() - {name for name in early if worker_of(resource, name) in holders}:
            del ended[name], early[name]
        return early

    async def has_ended(self, pod: Name, ended: Ended) -> bool:
        """
        Asked of the server itself, as the name may be another pod's by now.

        Raises:
            ApiRefused: it does not tell.
        """
        body = await self.api.find(core("pods", pod))
        return body is None or (body["metadata"]["uid"] == ended.uid and has_ended(body))

    # Writes

    async def mark(self, resource: Name, costs: Mapping[str, Annotations]) -> None:
        """Give pods their deletion costs. One that is refused is worth a line, but stops nobody."""
        pods = [(Name(resource.namespace, name), cost) for name, cost in costs.items()]
        await asyncio.gather(*(self.price(pod, cost) for pod, cost in pods))

    async def price(self, pod: Name, cost: Annotations) -> None:
        try:
            with suppress(ApiGone):
                await self.api.merge(core("pods", pod), {"metadata": {"annotations": dict(cost)}})
        except ApiRefused as error:
            log.warning("%s has no deletion cost: %s", pod, error)


def worker_of(resource: Name, pod: str) -> str:
    """The name of the worker in a pod of a resource."""
    return worker_name(Name(resource.namespace, pod))


def resource_of(body: Manifest) -> Name | None:
    """The resource whose worker a pod says that it is."""
    metadata = body["metadata"]
    queue = (metadata.get("labels") or {}).get(QUEUE)
    return Name(metadata["namespace"], queue) if queue else None


def is_final(body: Manifest) -> bool:
    """Whether a pod counts no more, though the object is still there."""
    return (body.get("status") or {}).get("phase") in FINAL_PHASES


def has_ended(body: Manifest) -> bool:
    """
    Whether a kubelet says that all containers have ended for ever.

    A missing object proves nothing, and neither does the phase alone: after a forced deletion, or the loss of a Node,
    the API server says that a pod has ended while its processes may go on.
    """
    containers = (body.get("status") or {}).get("containerStatuses") or []
    return is_final(body) and bool(containers) and all("terminated" in (each.get("state") or {}) for each in containers)


def watched_pods() -> str:
    """The selector of all pods that belong to Deployments of ours."""
    name = "app.kubernetes.io/name"
    return selector_text({name: selector(Name("", ""))[name]})


def slim_pod(body: Manifest) -> Manifest:
    """What is asked of a pod: a tenth of it, which counts where there are ten thousand."""
    metadata, status = body["metadata"], body.get("status") or {}
    return {
        "metadata": {key: metadata[key] for key in POD_METADATA if key in metadata},
        "spec": {"nodeName": (body.get("spec") or {}).get("nodeName")},
        "status": {key: status[key] for key in POD_STATUS if key in status},
    }
