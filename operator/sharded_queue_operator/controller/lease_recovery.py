"""
Threads that a pod still holds after its containers have ended are freed at once, instead of when its lease ends.

Only by the word of its kubelet, which has seen the processes end; of a pod that is merely gone from the API server,
the lease decides, as its worker may go on. So it does of a pod of a StatefulSet, whose name another one takes, and of
a container that started again in its pod.
"""

import asyncio
import logging
from collections.abc import Set

from sharded_queue.coordinator import Coordinator
from sharded_queue.printable import counted
from sharded_queue_operator import metrics
from sharded_queue_operator.cluster.pods import Ended, Members, worker_of
from sharded_queue_operator.controller.scale_down import Coordinate, is_ordinal
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.polling.connection import ANSWER_SECONDS, REDIS_FAILURES
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource
from sharded_queue_operator.resource.status import Event
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.observation import Observation

log = logging.getLogger(__name__)

NAMED = 5
"""Threads that an event lists."""


class Healer:
    def __init__(self, members: Members, coordinate: Coordinate) -> None:
        self.members = members
        self.coordinate = coordinate

    async def heal(self, resource: Resource, workload: Workload, seen: Observation) -> list[Event]:
        """Free what ended pods hold; what to tell of it."""
        if is_ordinal(resource):
            return []
        owners = {hold.worker for state in seen.shards for hold in state.held}
        if owners:
            await self.members.look(resource, workload)
        gone = await self.gone(resource.name, workload, owners, seen.read_at)
        if not gone:
            return []
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                freed = await self.freed(await self.coordinate(resource.name), resource, gone)
        except REDIS_FAILURES as error:
            log.warning("%s: threads of ended pods wait for their leases: %s", resource.name, error)
            return []
        self.settle(resource.name, gone)
        metrics.freed.labels(*resource.name).inc(len(freed))
        return [event(gone, freed)] if freed else []

    async def gone(self, resource: Name, workload: Workload, owners: Set[str], read_at: float) -> set[str]:
        """Pods of the workload that hold threads and have ended for certain; the others are no longer suspects."""
        suspects = self.members.suspects(resource, owners, read_at)
        gone = {name for name, ended in suspects.items() if await self.is_gone(resource, workload, name, ended)}
        self.settle(resource, suspects.keys() - gone)
        return gone

    async def is_gone(self, resource: Name, workload: Workload, name: str, ended: Ended) -> bool:
        try:
            is_ours = await self.members.is_of(resource, workload, ended.maker)
            return is_ours and await self.members.has_ended(Name(resource.namespace, name), ended)
        except ApiRefused as error:
            log.warning("%s/%s: its threads wait for their leases: %s", resource.namespace, name, error)
            return False

    async def freed(self, coordinator: Coordinator, resource: Resource, gone: Set[str]) -> list[str]:
        names = [worker_of(resource.name, pod) for pod in sorted(gone)]
        return [
            f"{thread} of {shard.handler}"
            for shard in resource.spec.shards
            for thread in await coordinator.evict(shard, names)
        ]

    def settle(self, resource: Name, names: Set[str]) -> None:
        """Once is enough."""
        for name in names:
            self.members.ended.get(resource, {}).pop(name, None)


def event(gone: Set[str], freed: list[str]) -> Event:
    pods = ", ".join(sorted(gone)[:NAMED])
    threads = ", ".join(freed[:NAMED]) + (f" and {len(freed) - NAMED} more" if len(freed) > NAMED else "")
    have = "has" if len(gone) == 1 else "have"
    return Event("Warning", "LeasesFreed", f"{pods} {have} ended; {counted(len(freed), 'thread')} freed: {threads}")
