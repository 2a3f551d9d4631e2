"""
One operator of several: who holds the Lease works, the others wait.

A leader that could not renew in time must stop before another one begins, so it judges by its own monotonic clock, from
the moment *before* its last renewal; the others judge by how long they saw the same renewal, never by its timestamp.
The Lease may be deleted. Its holder makes it again at its next renewal, and the other operators wait long enough for
that.
"""

import asyncio
import logging
from datetime import UTC, datetime
from time import monotonic

from sharded_queue.errors import ShardedQueueError
from sharded_queue_operator import metrics
from sharded_queue_operator.cluster.api import Api, path_of
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.resource.deployment import Manifest
from sharded_queue_operator.resource.name import Name

log = logging.getLogger(__name__)

RENEWALS = 3
"""Renewals within a lease."""

TRIES = 5
"""Tries for one renewal, as long as the API server refuses it."""


class Deposed(ShardedQueueError):
    """The Lease was not renewed in time, or is another's: another operator may be at work."""


class Leader:
    def __init__(self, api: Api, name: Name, identity: str, lease_seconds: float) -> None:
        self.api = api
        self.name = name
        self.identity = identity
        self.lease_seconds = lease_seconds
        self.held_until = float("-inf")
        self.seen: tuple[str, float] = ("", float("-inf"))
        """The version of another's Lease that was seen last, and since when."""
        self.seen_uid: str | None = None
        self.is_leading = False

    @property
    def path(self) -> str:
        return path_of("/apis/coordination.k8s.io/v1", "leases", self.name, "")

    async def acquire(self) -> None:
        """Return when this process is the leader."""
        while not await self.attempt():  # noqa: ASYNC110 - the event is another process's
            await asyncio.sleep(self.lease_seconds / RENEWALS)
        self.is_leading = True
        log.info("%s leads", self.identity)
        metrics.leading.set(1)

    async def keep(self) -> None:
        """
        Renew for ever.

        Raises:
            Deposed: that did not work in time, or another operator holds the Lease.
        """
        is_held = True
        while True:
            await asyncio.sleep(self.lease_seconds / RENEWALS / (1 if is_held else TRIES))
            is_held = await self.attempt()
            if monotonic() + self.lease_seconds / RENEWALS > self.held_until:
                raise Deposed(f"{self.identity} could not renew {self.name} for {self.lease_seconds:.0f} s")

    async def attempt(self) -> bool:
        """
        Take or renew the Lease if it may be taken; whether this process leads now.

        Raises:
            Deposed: it led, and another one does.
        """
        begun = monotonic()
        try:
            async with asyncio.timeout(self.lease_seconds / RENEWALS):
                is_held = await self.claim()
        except (ApiRefused, TimeoutError) as error:
            log.warning("the Lease was not renewed: %s", error)
            return False
        if is_held:
            self.held_until = begun + self.lease_seconds
        return is_held

    async def claim(self) -> bool:
        lease = await self.api.find(self.path)
        if not self.is_leading and self.is_replaced(lease):
            return False
        if lease is None:
            await self.api.create(
                path_of("/apis/coordination.k8s.io/v1", "leases", None, self.name.namespace), self.lease()
            )
            return True
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity")
        if holder not in {self.identity, None, ""}:
            if self.is_leading:
                raise Deposed(f"{holder} holds {self.name}, and no longer {self.identity}")
            if not self.is_abandoned(lease):
                return False
        lease["spec"] = {
            **spec,
            **self.lease()["spec"],
            "leaseTransitions": spec.get("leaseTransitions", 0) + (holder != self.identity),
        }
        await self.api.replace(self.path, lease)
        return True

    def is_replaced(self, lease: Manifest | None) -> bool:
        """
        Whether the Lease of another operator was deleted and its holder may not know yet. A new one without a holder
        may exist, for example from a chart. An operator that gives a Lease back leaves the object in place.
        """
        if lease and (lease["metadata"].get("uid") == self.seen_uid or (lease.get("spec") or {}).get("holderIdentity")):
            return False
        return monotonic() < self.seen[1] + self.lease_seconds

    def is_abandoned(self, lease: Manifest) -> bool:
        version, since = self.seen
        self.seen_uid = lease["metadata"].get("uid")
        if version != lease["metadata"]["resourceVersion"]:
            self.seen = lease["metadata"]["resourceVersion"], monotonic()
            return False
        return monotonic() > since + float(lease["spec"].get("leaseDurationSeconds", self.lease_seconds))

    async def resign(self) -> None:
        """Let the next one begin at once."""
        metrics.leading.set(0)
        if monotonic() > self.held_until:
            return
        try:
            lease = await self.api.get(self.path)
            if lease["spec"].get("holderIdentity") == self.identity:
                lease["spec"]["holderIdentity"] = ""
                await self.api.replace(self.path, lease)
        except ApiRefused as error:
            log.warning("the Lease was not given back: %s", error)

    def lease(self) -> Manifest:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": self.name.namespace, "name": self.name.name},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": int(self.lease_seconds),
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }
