"""
The safety net under the watches: lists of everything, which replace what is known.

They are read every `resync_seconds`, in case a watch went silent, and at once when the watches end.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from sharded_queue_operator.cluster.api import Api, apps, core, queues, version_of
from sharded_queue_operator.cluster.pod import compact_pod
from sharded_queue_operator.cluster.pods import watched_pods
from sharded_queue_operator.cluster.targets import FORBIDDEN
from sharded_queue_operator.controller.controller import Controller
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.resource.deployment import MANAGED_BY, MANAGER, Manifest
from sharded_queue_operator.resource.mark import SCALED_BY
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.settings import Settings

log = logging.getLogger(__name__)

KINDS = ("deployments", "statefulsets")
"""That a resource may scale."""

RELIST_SECONDS = 1.0
"""Before a list that was refused is read again."""


class Listing(NamedTuple):
    """What the API server had of a kind, and the version at which it had it."""

    items: list[Manifest]
    version: int


class Resync:
    """Lists everything again and again, and reports it to the controller."""

    def __init__(self, api: Api, controller: Controller, settings: Settings) -> None:
        self._api = api
        self._controller = controller
        self._namespaces = settings.namespaces or ("",)
        self._pause_seconds = settings.resync_seconds
        self._due = asyncio.Event()

    def hasten(self) -> None:
        """The watches ended: until they restart, only lists report what happens."""
        self._due.set()

    async def run(self) -> None:
        await self._know_workloads()
        pause = self._pause_seconds
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._due.wait()
            self._due.clear()
            self._controller.check_pollers()
            pause = self._pause_seconds if await self._list_all() else RELIST_SECONDS

    async def _know_workloads(self) -> None:
        """Before anything is rolled out: the leader before this one may have begun rollouts."""
        while not await self._list_each(self.list_workloads, self.list_targets):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(RELIST_SECONDS)
        self._controller.all_workloads_known()

    async def _list_all(self) -> bool:
        """Report what the watches should have reported; whether all lists could be read."""
        is_complete = await self._list_each(self.list_workloads, self.list_pods, self.list_resources, self.list_targets)
        if is_complete:
            self._controller.note_progress()
        return is_complete

    async def _list_each(self, *kinds: Callable[[str], Awaitable[None]]) -> bool:
        is_complete = True
        for namespace in self._namespaces:
            for kind in kinds:
                try:
                    await kind(namespace)
                except ApiRefused as error:
                    is_complete = False
                    log.warning("%s; the lists are read again in %s s", error, RELIST_SECONDS)
        return is_complete

    async def list_workloads(self, namespace: str) -> None:
        workloads = self._controller.workloads
        before = {name: known.version for name, known in workloads.known.items() if name.is_in(namespace)}
        listing = await self._list(apps("deployments", namespace=namespace), f"{MANAGED_BY}={MANAGER}")
        if listing.version < max(before.values(), default=0):
            workloads.forget_versions()
        for name in before.keys() - {Name.of(body) for body in listing.items}:
            workloads.lose(name)
        for body in listing.items:
            self._controller.workload_changed(body)

    async def list_pods(self, namespace: str) -> None:
        listing = await self._list(core("pods", namespace=namespace), watched_pods(), keep=compact_pod)
        await self._controller.pods.replace_all(listing.items, namespace)

    async def list_resources(self, namespace: str) -> None:
        entries = self._controller.entries
        before = {name: entry for name, entry in entries.items() if name.is_in(namespace)}
        latest = max((version_of(entry.body) for entry in before.values()), default=0)
        listing = await self._list(queues(namespace=namespace))
        if listing.version < latest:
            self._forget_versions()
        names = {Name.of(body) for body in listing.items}
        for name, entry in before.items():  # what came while the list was under way may not be in it
            if name not in names and entries.get(name) is entry:
                self._controller.resource_gone(entry.body)
        for body in listing.items:
            self._controller.resource_changed(body)

    async def list_targets(self, namespace: str) -> None:
        """Workloads of users that a resource scaled which was deleted while no operator ran, or no watch."""
        marked = [found for kind in KINDS for found in await self._marked(kind, namespace)]
        if any(self._controller.is_left(*each) for each in marked):
            await self.list_resources(namespace)
        for each in marked:
            if self._controller.is_left(*each):
                self._controller.target_left(*each)

    async def _marked(self, kind: str, namespace: str) -> list[tuple[str, Manifest]]:
        """By path. Rights that somebody wrote for an earlier release may not allow the list."""
        try:
            listing = await self._list(apps(kind, namespace=namespace), SCALED_BY)
        except ApiRefused as error:
            if error.status != FORBIDDEN:
                raise
            log.warning("what deleted resources scaled is not restored: %s", error)
            return []
        return [(apps(kind, Name.of(body)), body) for body in listing.items]

    def _forget_versions(self) -> None:
        """Versions go back where etcd was restored."""
        log.warning("the API server went back to an earlier state: what it lists replaces what was known")
        for entry in self._controller.entries.values():
            entry.forget_version()

    async def _list(self, path: str, selector: str = "", keep: Callable[[Manifest], Manifest] | None = None) -> Listing:
        """All objects of a list, of each what *keep* keeps of it."""
        items: list[Manifest] = []
        version = 0
        async for page, version in self._api.pages(path, selector):  # noqa: B007 - the last page's version counts
            items.extend(map(keep, page) if keep else page)
        return Listing(items, version)
