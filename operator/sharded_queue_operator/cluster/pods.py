"""
The worker pods of each resource: the pods that exist, and the pods that have ended by the word of a kubelet.

A watch reports the pods of the Deployments that resources own; the pods of a user's workload are listed when needed.
Anyone may choose a pod's name and labels, so the uids of its owners say which resource it belongs to. A pod that was
never seen here is left alone: a worker may run anywhere.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from sharded_queue_operator.cluster.api import Api, apps, core
from sharded_queue_operator.cluster.pod import ControllerRef, Pod, has_ended, is_final, resource_of, worker_of
from sharded_queue_operator.cluster.victims import Annotations
from sharded_queue_operator.errors import ApiGone, ApiRefused
from sharded_queue_operator.resource.availability import Problem
from sharded_queue_operator.resource.deployment import Manifest, selector, selector_text
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource
from sharded_queue_operator.resource.workload import Workload

log = logging.getLogger(__name__)

LIST_SECONDS = 60.0
"""
Between two lists of pods that are not watched, while they hold threads. The leases of such threads, 15 s by default,
mostly end before. A thousand busy queues are 17 lists a second.
"""

AWAITED_SECONDS = 1.0
"""The same while some of these pods are to go."""


ASK_SECONDS = 60.0
"""
Until the API server is asked again who made a ReplicaSet that the workload did not make. The answer changes when
somebody deletes a Deployment without its pods, and makes it again.
"""

REFUSED_SECONDS = 5.0
"""The same where the API server did not say."""


class Maker(NamedTuple):
    """The uid of the Deployment that made a ReplicaSet, "" for none, and until when another answer is not asked for."""

    uid: str
    until: float


class Ended(NamedTuple):
    """A pod whose containers have ended and will not restart, and when that became known."""

    uid: str
    controller: ControllerRef
    at: float


class PodTracker:
    """A cache of pods, by the resource whose workers they are."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[Name, dict[str, Pod]] = {}
        self._ended: dict[Name, dict[str, Ended]] = {}
        """Until a reading shows that they hold nothing."""
        self._listed_at: dict[Name, float] = {}
        """Of the resources whose pods are not watched."""
        self._makers: dict[Name, dict[str, Maker]] = {}
        """By the uids of ReplicaSets."""

    # News

    def keep(self, body: Manifest) -> Name | None:
        """Note a pod from the watch; the resource whose worker it is, if it has just ended."""
        resource = resource_of(body)
        if resource is None:
            return None
        if is_final(body):
            return self.drop(body)
        pod = Pod.of(body)
        self._known.setdefault(resource, {})[pod.name] = pod
        self._ended.get(resource, {}).pop(pod.name, None)
        return None

    def drop(self, body: Manifest) -> Name | None:
        """Note that a pod was deleted; the resource whose worker it was, if a kubelet has seen it end."""
        resource = resource_of(body)
        if resource is None or self._known.get(resource, {}).pop(body["metadata"]["name"], None) is None:
            return None
        return resource if self._end(resource, body) else None

    def _end(self, resource: Name, body: Manifest) -> bool:
        """Note a pod that has ended. Where no kubelet says so, the leases of its threads decide."""
        if not has_ended(body):
            return False
        metadata = body["metadata"]
        ended = Ended(metadata["uid"], ControllerRef.of(body), monotonic())
        self._ended.setdefault(resource, {})[metadata["name"]] = ended
        return True

    def forget(self, resource: Name) -> None:
        for known in (self._known, self._ended, self._listed_at, self._makers):
            known.pop(resource, None)

    async def replace_all(self, bodies: Sequence[Manifest], namespace: str) -> None:
        """
        What a watch should have reported, from a list of all watched pods of a namespace, "" for all. Other tasks have
        a turn between two resources: ten thousand pods take a third of a second.
        """
        listed: dict[Name, list[Manifest]] = {}
        for body in bodies:
            if resource := resource_of(body):
                listed.setdefault(resource, []).append(body)
        watched = {name for name in self._known if name.is_in(namespace) and name not in self._listed_at}
        for resource in watched | listed.keys():
            self._replace(resource, listed.get(resource, []))
            await asyncio.sleep(0)

    def _replace(self, resource: Name, bodies: Sequence[Manifest]) -> None:
        """All pods of a resource, from a list."""
        before = self._known.get(resource, {})
        pods = [Pod.of(body) for body in bodies if not is_final(body)]
        self._known[resource] = {pod.name: pod for pod in pods}
        for body in bodies:
            if is_final(body) and body["metadata"]["name"] in before:
                self._end(resource, body)
        self._forget_makers(resource)

    def _forget_makers(self, resource: Name) -> None:
        """Of pods that are gone: whoever may create pods chooses their controllers, without end."""
        used = {pod.controller.uid for pod in self._known.get(resource, {}).values()}
        used |= {ended.controller.uid for ended in self._ended.get(resource, {}).values()}
        self._makers[resource] = {uid: maker for uid, maker in self._makers.get(resource, {}).items() if uid in used}

    # Pods that exist

    async def problems(self, resource: Name, workload: Workload | None) -> list[Problem]:
        """What keeps the pods of a workload from becoming ready; pods that are leaving do not count."""
        pods = await self._known_of(resource, workload) if workload else []
        return [pod.problem for pod in pods if pod.problem and not pod.is_leaving]

    async def of(self, resource: Resource, workload: Workload) -> Sequence[Pod]:
        """The pods of a workload, from a list when fewer are known than exist, or when no watch reports them."""
        found = await self._known_of(resource.name, workload)
        if self._must_list(resource, len(found) < workload.existing):
            await self._list(resource, workload.selector)
            found = await self._known_of(resource.name, workload)
        return found

    def _must_list(self, resource: Resource, is_short: bool) -> bool:
        """No watch reports the pods of a user's workload. They are listed again and again while they are awaited."""
        if not resource.spec.scale_target_ref:
            return is_short
        return monotonic() >= self._listed_at.get(resource.name, float("-inf")) + AWAITED_SECONDS

    async def _known_of(self, resource: Name, workload: Workload) -> list[Pod]:
        known = list(self._known.get(resource, {}).values())
        return [pod for pod in known if await self.is_of(resource, workload, pod.controller)]

    async def is_of(self, resource: Name, workload: Workload, controller: ControllerRef) -> bool:
        """Whether a workload made a pod, itself or through a ReplicaSet."""
        if not controller.uid or not workload.uid:
            return False
        if controller.uid == workload.uid:
            return True
        if controller.kind != "ReplicaSet":
            return False
        makers = self._makers.setdefault(resource, {})
        known = makers.get(controller.uid)
        if known is None or (known.uid != workload.uid and monotonic() >= known.until):
            known = makers[controller.uid] = await self._maker_of(resource.namespace, controller)
        return known.uid == workload.uid

    async def _maker_of(self, namespace: str, replica_set: ControllerRef) -> Maker:
        try:
            body = await self._api.find(apps("replicasets", Name(namespace, replica_set.name)))
        except ApiRefused as error:
            log.warning("%s/%s: which workload made its pods is not known: %s", namespace, replica_set.name, error)
            return Maker("", monotonic() + REFUSED_SECONDS)
        is_same = body is not None and body["metadata"]["uid"] == replica_set.uid
        return Maker(ControllerRef.of(body).uid if body and is_same else "", monotonic() + ASK_SECONDS)

    async def list_if_due(self, resource: Resource, workload: Workload) -> None:
        """Find out now and then which unwatched pods have ended."""
        due = self._listed_at.get(resource.name, float("-inf")) + LIST_SECONDS
        if resource.spec.scale_target_ref and monotonic() >= due:
            await self._list(resource, workload.selector)

    async def _list(self, resource: Resource, labels: str) -> None:
        """Know all pods of a workload from a list. When the list is refused, what is known stays."""
        if not labels:
            return
        if resource.spec.scale_target_ref:
            self._listed_at[resource.name] = monotonic()
        try:
            found = await self._api.get(core("pods", namespace=resource.name.namespace), labelSelector=labels)
        except ApiRefused as error:
            log.warning("%s: its pods cannot be listed: %s", resource.name, error)
            return
        self._replace(resource.name, found.get("items", []))

    # Pods that have ended

    def ended_holders(self, resource: Name, holders: Set[str], read_at: float) -> dict[str, Ended]:
        """
        Pods that ended before *read_at* and whose workers are among the *holders* of threads. Other pods that had ended
        by then hold nothing, and are forgotten.
        """
        ended = self._ended.get(resource, {})
        early = {name: each for name, each in ended.items() if each.at < read_at}
        for name in early.keys() - {name for name in early if worker_of(resource, name) in holders}:
            del ended[name], early[name]
        return early

    async def confirm_ended(self, pod: Name, ended: Ended) -> bool:
        """
        Whether the API server says so too: another pod may have the name by now.

        Raises:
            ApiRefused: the server does not say.
        """
        body = await self._api.find(core("pods", pod))
        return body is None or (body["metadata"]["uid"] == ended.uid and has_ended(body))

    def forget_ended(self, resource: Name, names: Set[str]) -> None:
        for name in names:
            self._ended.get(resource, {}).pop(name, None)

    # Writes

    async def set_deletion_costs(self, resource: Name, costs: Mapping[str, Annotations]) -> bool:
        """Whether all were set; without them, the ReplicaSet chooses by itself."""
        pods = [(Name(resource.namespace, name), cost) for name, cost in costs.items()]
        return all(await asyncio.gather(*(self._set_deletion_cost(pod, cost) for pod, cost in pods)))

    async def _set_deletion_cost(self, pod: Name, cost: Annotations) -> bool:
        try:
            with suppress(ApiGone):
                await self._api.merge(core("pods", pod), {"metadata": {"annotations": dict(cost)}})
            return True
        except ApiRefused as error:
            log.warning("%s has no deletion cost: %s", pod, error)
            return False


def watched_pods() -> str:
    """The label selector of all pods of our own Deployments."""
    name = "app.kubernetes.io/name"
    return selector_text({name: selector(Name("", ""))[name]})
