"""
Leader election: of several operators the one that holds the Lease works, and the others wait.

A leader that could not renew in time must stop before another one starts. So it counts by its own monotonic clock, from
the moment *before* its last renewal; the others count from when they first saw that renewal, never by its timestamp.
The Lease may be deleted: its holder makes it again at its next renewal, and the other operators wait long enough for
that, also one that has just started and never saw the Lease. (A chart brings a Lease without a holder, which the first
operator takes at once.)
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
"""Tries for one renewal that the API server refuses."""


class Deposed(ShardedQueueError):
    """The Lease was not renewed in time, or another operator holds it: another operator may be at work."""


class Leader:
    def __init__(self, api: Api, name: Name, identity: str, lease_seconds: float) -> None:
        self._api = api
        self._name = name
        self._identity = identity
        self._lease_seconds = lease_seconds
        self._held_until = float("-inf")
        self._seen: tuple[str, float] = ("", float("-inf"))
        """The last version of another operator's Lease, and when it was first seen."""
        self._seen_uid: str | None = None
        self._missing_since: float | None = None
        """Since when this operator, which waits, has seen no Lease."""
        self._is_leading = False

    @property
    def _path(self) -> str:
        return path_of("/apis/coordination.k8s.io/v1", "leases", self._name, "")

    async def acquire(self) -> None:
        """Return once this process is the leader."""
        while not await self.attempt():  # noqa: ASYNC110 - the event is another process's
            await asyncio.sleep(self._lease_seconds / RENEWALS)
        self._is_leading = True
        log.info("%s is the leader", self._identity)
        metrics.leading.set(1)

    async def keep(self) -> None:
        """
        Renew until it fails.

        Raises:
            Deposed: the Lease could not be renewed in time, or another operator holds it.
        """
        is_held = True
        while True:
            await asyncio.sleep(self._lease_seconds / RENEWALS / (1 if is_held else TRIES))
            is_held = await self.attempt()
            if monotonic() + self._lease_seconds / RENEWALS > self._held_until:
                raise Deposed(f"{self._identity} could not renew {self._name} for {self._lease_seconds:.0f} s")

    async def attempt(self) -> bool:
        """
        Take or renew the Lease if possible; whether this process leads now.

        Raises:
            Deposed: this process was the leader, and another one is now.
        """
        begun = monotonic()
        try:
            async with asyncio.timeout(self._lease_seconds / RENEWALS):
                is_held = await self.take()
        except (ApiRefused, TimeoutError) as error:
            log.warning("the Lease was not renewed: %s", error)
            return False
        if is_held:
            self._held_until = begun + self._lease_seconds
        return is_held

    async def take(self) -> bool:
        """As `attempt`; a server that does not answer is an error."""
        lease = await self._api.find(self._path)
        if not self._is_leading and (self._is_replaced(lease) or self._is_missing(lease)):
            return False
        if lease is None:
            await self._api.create(
                path_of("/apis/coordination.k8s.io/v1", "leases", None, self._name.namespace), self._lease()
            )
            return True
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity")
        if holder not in {self._identity, None, ""}:
            if self._is_leading:
                raise Deposed(f"{holder} holds {self._name} now, not {self._identity}")
            if not self._is_abandoned(lease):
                return False
        lease["spec"] = {
            **spec,
            **self._lease()["spec"],
            "leaseTransitions": spec.get("leaseTransitions", 0) + (holder != self._identity),
        }
        await self._api.replace(self._path, lease)
        return True

    def _is_replaced(self, lease: Manifest | None) -> bool:
        """
        Whether the Lease of another operator was deleted, and its holder may not know yet. A new Lease without a holder
        may exist, for example from a chart. An operator that gives the Lease back leaves the object in place.
        """
        if lease and (
            lease["metadata"].get("uid") == self._seen_uid or (lease.get("spec") or {}).get("holderIdentity")
        ):
            return False
        return monotonic() < self._seen[1] + self._lease_seconds

    def _is_missing(self, lease: Manifest | None) -> bool:
        """Whether there is no Lease, and a leader may be about to make it again."""
        if lease:
            self._missing_since = None
            return False
        self._missing_since = self._missing_since or monotonic()
        return monotonic() < self._missing_since + self._lease_seconds

    def _is_abandoned(self, lease: Manifest) -> bool:
        version, since = self._seen
        self._seen_uid = lease["metadata"].get("uid")
        if version != lease["metadata"]["resourceVersion"]:
            self._seen = lease["metadata"]["resourceVersion"], monotonic()
            return False
        return monotonic() > since + float(lease["spec"].get("leaseDurationSeconds", self._lease_seconds))

    async def resign(self) -> None:
        """Let the next operator start at once."""
        metrics.leading.set(0)
        if monotonic() > self._held_until:
            return
        try:
            lease = await self._api.get(self._path)
            if lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"]["holderIdentity"] = ""
                await self._api.replace(self._path, lease)
        except ApiRefused as error:
            log.warning("the Lease was not given back: %s", error)

    def _lease(self) -> Manifest:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": self._name.namespace, "name": self._name.name},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(self._lease_seconds),
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }
