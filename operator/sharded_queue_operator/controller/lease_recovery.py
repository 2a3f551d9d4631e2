"""
Orphaned leases: threads that a pod still holds after its containers have ended are freed at once, and do not wait for
their leases to end.

This takes the word of the pod's kubelet, which has seen the processes end. In all other cases the lease decides: a pod
that is merely gone from the API server may still run, the name of a pod of a StatefulSet is taken by the next one, and
a container may start again in its pod.
"""

import asyncio
import logging
from collections.abc import Set

from sharded_queue.coordinator import Coordinator
from sharded_queue.printable import counted
from sharded_queue_operator import metrics
from sharded_queue_operator.cluster.pod import worker_of
from sharded_queue_operator.cluster.pods import Ended, PodTracker
from sharded_queue_operator.cluster.victims import is_stateful_set
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.polling.connection import ANSWER_SECONDS, REDIS_FAILURES
from sharded_queue_operator.polling.observer import FindCoordinator
from sharded_queue_operator.resource.events import Event
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.observation import Observation

log = logging.getLogger(__name__)

MOST_NAMED = 5
"""Pods and threads that an event lists."""


class LeaseRecovery:
    def __init__(self, pods: PodTracker, find_coordinator: FindCoordinator) -> None:
        self._pods = pods
        self._find_coordinator = find_coordinator

    async def reclaim(self, resource: Resource, workload: Workload, seen: Observation) -> list[Event]:
        """Free the threads that ended pods hold; the events that report it."""
        if is_stateful_set(resource):
            return []
        holders = {hold.worker for state in seen.shards for hold in state.held}
        if holders:
            await self._pods.list_if_due(resource, workload)
        ended = await self._ended(resource.name, workload, holders, seen.read_at)
        if not ended:
            return []
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                freed = await self._free(await self._find_coordinator(resource.name), resource, ended)
        except REDIS_FAILURES as error:
            log.warning("%s: threads of ended pods wait for their leases: %s", resource.name, error)
            return []
        self._pods.forget_ended(resource.name, ended)
        metrics.freed.labels(*resource.name).inc(len(freed))
        return [_event(ended, freed)] if freed else []

    async def _ended(self, resource: Name, workload: Workload, holders: Set[str], read_at: float) -> set[str]:
        """Pods of the workload that hold threads and have certainly ended; the others are no longer suspected."""
        suspects = self._pods.ended_holders(resource, holders, read_at)
        ended = {name for name, each in suspects.items() if await self._is_certain(resource, workload, name, each)}
        self._pods.forget_ended(resource, suspects.keys() - ended)
        return ended

    async def _is_certain(self, resource: Name, workload: Workload, name: str, ended: Ended) -> bool:
        try:
            is_ours = await self._pods.is_of(resource, workload, ended.controller)
            return is_ours and await self._pods.confirm_ended(Name(resource.namespace, name), ended)
        except ApiRefused as error:
            log.warning("%s/%s: its threads wait for their leases: %s", resource.namespace, name, error)
            return False

    async def _free(self, coordinator: Coordinator, resource: Resource, pods: Set[str]) -> list[str]:
        workers = [worker_of(resource.name, pod) for pod in sorted(pods)]
        return [
            f"{thread} of {shard.handler}"
            for shard in resource.spec.shards
            for thread in await coordinator.evict(shard, workers)
        ]


def _event(ended: Set[str], freed: list[str]) -> Event:
    pods, have = ", ".join(sorted(ended)[:MOST_NAMED]), "has" if len(ended) == 1 else "have"
    more = f" and {len(freed) - MOST_NAMED} more" if len(freed) > MOST_NAMED else ""
    threads = ", ".join(freed[:MOST_NAMED]) + more
    return Event("Warning", "LeasesFreed", f"{pods} {have} ended; {counted(len(freed), 'thread')} freed: {threads}")
