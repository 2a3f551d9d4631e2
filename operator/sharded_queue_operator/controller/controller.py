"""
Each resource again and again: observe, decide, apply.

News comes from watches, from Redis and from a timer that lists everything anew, and only ever says which resource to
look at. So it does not matter whether one piece of news is lost, late, or told twice.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import NamedTuple

from sharded_queue.tube import Shard
from sharded_queue_operator import metrics
from sharded_queue_operator.allowed import Allowed
from sharded_queue_operator.cluster import contest
from sharded_queue_operator.cluster.api import Api, apps, core, queues
from sharded_queue_operator.cluster.contest import Contests
from sharded_queue_operator.cluster.pods import Members, slim_pod, watched_pods
from sharded_queue_operator.cluster.workloads import Workloads, newer, version
from sharded_queue_operator.controller.apply import Applier, now
from sharded_queue_operator.controller.lease_recovery import Healer
from sharded_queue_operator.controller.overdue import Overdue
from sharded_queue_operator.controller.scale_down import Dismissals
from sharded_queue_operator.controller.sharing import Sharing
from sharded_queue_operator.controller.workqueue import WorkQueue
from sharded_queue_operator.errors import ApiRefused, BadSpec, NotOurs
from sharded_queue_operator.polling.connection import RedisTarget
from sharded_queue_operator.polling.observer import Observer
from sharded_queue_operator.polling.reader import Reading, Subscription
from sharded_queue_operator.polling.timetable import LONGEST_PAUSE_SECONDS
from sharded_queue_operator.resource import status
from sharded_queue_operator.resource.conditions import Condition
from sharded_queue_operator.resource.deployment import MANAGED_BY, MANAGER, Manifest, deployment
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.pin import PINNED, pin
from sharded_queue_operator.resource.spec import ACCEPT, PAUSE, Resource, parsed
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.decide import Decision, decide
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.observation import Doubt, Observation
from sharded_queue_operator.settings import Settings

log = logging.getLogger(__name__)

KEPT = ("namespace", "name", "uid", "resourceVersion", "generation")

UNPROCESSABLE = frozenset(range(400, 423)) - {408, 409, 410}
"""The API server will say the same again, until the resource or the rights of the operator change. A conflict, a time
that ran out or a version that is gone is not of that kind: the same call may succeed a moment later."""

UNREADABLE = ("failed to create typed patch object", "failed to convert new object")
"""So the API server calls a template that it cannot read, and answers 500, as if it were at fault itself."""

TRIES = 3
"""Failures in a row, a second or two together, until the status tells of what may pass by itself: it may not."""

RELIST_SECONDS = 1.0
"""A list that was refused is asked for again."""


@dataclass(slots=True)
class Entry:
    """What is known of one resource; its spec is kept as values, not in *body*."""

    body: Manifest
    resource: Resource | None = None
    complaint: BadSpec | None = None
    reading: Reading | None = None
    history: History = field(default_factory=History)


class Listing(NamedTuple):
    """What the API server had of a kind, and the version at which it had it."""

    items: list[Manifest]
    version: int


class Controller:
    def __init__(self, api: Api, settings: Settings) -> None:
        self.api = api
        self.settings = settings
        self.entries: dict[Name, Entry] = {}
        self.queue: WorkQueue[Name] = WorkQueue()
        self.workloads = Workloads(api)
        self.applier = Applier(api, self.workloads, settings.identity, settings.status_seconds)
        self.observer = Observer(self.read_secret, self.heard, Allowed(settings.allowed_redis))
        self.overdue = Overdue(self.unheard)
        self.contests = Contests()
        self.sharing = Sharing()
        self.members = Members(api)
        self.dismissals = Dismissals(self.members, self.observer.coordinator)
        self.healer = Healer(self.members, self.observer.coordinator)
        self.progress_at = monotonic()
        """When the last resource was looked at, or the last list of them was read."""
        self.is_running = False
        self.listing_due = asyncio.Event()

    async def run(self) -> None:
        self.is_running = True
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.resync_for_ever(), name="resync")
                for number in range(self.settings.workers):
                    tasks.create_task(self.work_for_ever(), name=f"reconcile {number}")
        finally:
            self.is_running = False
            self.overdue.close()
            await self.observer.close()

    # News

    def resource_changed(self, body: Manifest) -> None:
        name = Name.of(body)
        if body["metadata"].get("deletionTimestamp"):
            self.resource_gone(body)
            return
        entry = self.entries.get(name)
        if entry is None or entry.body["metadata"]["uid"] != body["metadata"]["uid"]:
            self.entries[name] = entry = Entry(slim(body), history=resumed(body))
            self.read_spec(entry, body)
        elif newer(body, entry.body):
            before, entry.body = entry.body, slim(body)
            if accepted(body) and accepted(before) != accepted(body):
                entry.history = entry.history.from_here()
            if asked(before) != asked(body):
                self.read_spec(entry, body)
                self.queue.hurry(name)
        self.queue.add(name)

    def resource_gone(self, body: Manifest) -> None:
        name = Name.of(body)
        if self.entries.pop(name, None) is None:
            return
        self.observer.forget(name)
        self.overdue.forget(name)
        self.workloads.forget(name)
        self.members.forget(name)
        self.dismissals.forget(name)
        self.applier.forget(name)
        self.contests.forget(name)
        self.sharing.forget(name)
        self.queue.forget(name)
        metrics.forget(*name)

    def workload_changed(self, body: Manifest) -> None:
        if owner := self.workloads.keep(body):
            self.queue.add(owner)

    def workload_gone(self, body: Manifest) -> None:
        if owner := self.workloads.drop(body):
            self.queue.hurry(owner)

    def pod_changed(self, body: Manifest) -> None:
        self.missed(self.members.keep(body))

    def pod_gone(self, body: Manifest) -> None:
        self.missed(self.members.drop(body))

    def missed(self, owner: Name | None) -> None:
        """A worker is gone: see at once whether it held threads."""
        if owner:
            self.observer.hurry(owner)

    def heard(self, name: Name, reading: Reading) -> None:
        entry = self.entries.get(name)
        if entry and entry.resource:
            entry.reading = reading
            # What is in doubt is read more and more seldom.
            pause = LONGEST_PAUSE_SECONDS if reading.doubt else 0
            self.overdue.expect(name, entry.resource.policy.stale_seconds + pause)
            self.queue.add(name)

    def unheard(self, name: Name) -> None:
        """No reading came, not even one that tells of a doubt: something here is at fault, and the status says so."""
        entry = self.entries.get(name)
        if entry and entry.resource:
            read_at = entry.reading.read_at if entry.reading else float("-inf")
            entry.reading = Reading(read_at, doubt=silence(entry.resource))
            self.queue.add(name)

    def read_spec(self, entry: Entry, body: Manifest) -> None:
        """A spec that makes no sense changes nothing: the workers stay as they are until it does."""
        try:
            resource = parsed(body)
            if resource.spec.worker:
                deployment(resource, 0)
            self.follow_home(entry, resource)
            entry.resource, entry.complaint = resource, None
            self.workloads.claim(resource)
            self.sharing.claim(resource)
            self.overdue.expect(resource.name, resource.policy.stale_seconds)
            self.observer.subscribe(resource)
        except Exception as error:
            entry.complaint = error if isinstance(error, BadSpec) else unexpected(entry, error)
            self.observer.forget(Name.of(entry.body))
            self.overdue.forget(Name.of(entry.body))

    def follow_home(self, entry: Entry, resource: Resource) -> None:
        """A reading answers the question that was asked, and markers are those of the Redis that holds them."""
        before = entry.resource
        if before and (RedisTarget.of(before), Subscription.of(before)) != (
            RedisTarget.of(resource),
            Subscription.of(resource),
        ):
            entry.reading = None
        if before and before.spec.redis.home != resource.spec.redis.home:
            entry.history = entry.history.from_here()

    async def read_secret(self, name: Name) -> Manifest | None:
        return await self.api.find(core("secrets", name))

    # Work

    async def work_for_ever(self) -> None:
        while True:
            try:
                async with self.queue.next() as name:
                    await self.reconcile(name)
            except ApiRefused as error:
                log.warning("%s; trying again", status.short(str(error)))
            except Exception:
                log.exception("a reconciliation failed; trying again")

    async def reconcile(self, name: Name) -> None:
        self.progress_at = monotonic()
        entry = self.entries.get(name)
        if entry is None:
            return
        metrics.meet(*name)
        metrics.accepted.labels(*name).set(entry.complaint is None)
        if entry.complaint:
            metrics.unread(*name)
            await self.refuse(entry, "BadSpec", str(entry.complaint))
        elif entry.resource and entry.reading:
            await self.follow(entry, entry.resource, entry.reading)

    async def follow(self, entry: Entry, resource: Resource, reading: Reading) -> None:
        try:
            workload = await self.workloads.find(resource)
            history = entry.history
            seen = observation(entry, workload, reading)
            pinned = pin(
                resource.policy, resource.spec.pin_seconds, status.by_type(entry.body.get("status") or {}), now()
            )
            decision = decide(seen, pinned.policy, history, monotonic())
            besides = [pinned.condition, self.sharing.condition(resource), self.contested(resource.name, workload)]
            if besides[-1].status == "True":
                decision = replace(decision, replicas=None)
            if workload:
                await self.applier.announce(entry.body, await self.healer.heal(resource, workload, seen))
            if await self.may_carry_out(resource, workload, seen, decision):
                problems = await self.members.problems(resource.name, workload)
                body = await self.applier.apply(resource, entry.body, workload, seen, decision, problems, besides)
                self.note_write(resource.name, workload, decision)
                self.keep(entry, body)
            else:
                self.observer.hurry(resource.name)
        except NotOurs as error:
            await self.refuse(entry, error.reason, str(error))
            self.queue.rest(resource.name)
        except ApiRefused as error:
            if may_pass(error) and self.queue.failures[resource.name] < TRIES:
                raise
            await self.refuse(entry, "WorkloadRefused", str(error))
            self.queue.rest(resource.name)
        else:
            if entry.history is history:  # else what was known was given up meanwhile
                entry.history = decision.history
            measure(resource.name, workload, seen, decision)
            measure_conditions(resource.name, entry.body.get("status") or {})

    def contested(self, name: Name, workload: Workload | None) -> Condition:
        """Whether another writer keeps changing the replicas, which are then left alone."""
        if workload is None:
            return contest.condition(rests=False, writer="")
        rests = self.contests.rests(name, workload.wanted, workload.writer, monotonic())
        return contest.condition(rests=rests, writer=workload.writer)

    def note_write(self, name: Name, workload: Workload | None, decision: Decision) -> None:
        if decision.replicas is not None and (workload is None or decision.replicas != workload.wanted):
            self.contests.wrote(name, decision.replicas, monotonic())

    async def may_carry_out(
        self, resource: Resource, workload: Workload | None, seen: Observation, decision: Decision
    ) -> bool:
        """Whether to act on a decision now; fewer workers take a second look."""
        if workload is None or decision.replicas is None or decision.replicas >= workload.wanted:
            await self.dismissals.recall(resource)
            return True
        return await self.dismissals.may_lower(resource, workload, seen, decision.replicas)

    async def refuse(self, entry: Entry, reason: str, message: str) -> None:
        after = status.refused_status(entry.body, reason, message, now())
        self.keep(entry, await self.applier.tell(entry.body, after))

    def keep(self, entry: Entry, body: Manifest) -> None:
        if newer(body, entry.body) and asked(body) == asked(entry.body):
            entry.body = slim(body)

    # The safety net under the watches

    def watches_ended(self) -> None:
        """Until they begin anew, only lists tell what happens."""
        self.listing_due.set()

    async def resync_for_ever(self) -> None:
        pause = self.settings.resync_seconds
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.listing_due.wait()
            self.listing_due.clear()
            for error in self.observer.failed():
                raise error
            pause = self.settings.resync_seconds if await self.resync() else RELIST_SECONDS

    async def resync(self) -> bool:
        """What the watches should have told, from lists; whether all of them could be read."""
        kinds = (self.resync_workloads, self.resync_pods, self.resync_resources)
        refusals = []
        for namespace in self.settings.namespaces or [""]:
            for kind in kinds:
                try:
                    await kind(namespace)
                except ApiRefused as error:
                    refusals.append(error)
                    log.warning("%s; lists are read again in %s s", error, RELIST_SECONDS)
        if not refusals:
            self.progress_at = monotonic()
        return not refusals

    async def resync_workloads(self, namespace: str) -> None:
        before = {name for name in self.workloads.known if namespace in {"", name.namespace}}
        latest = max((self.workloads.known[name].version for name in before), default=0)
        listing = await self.listed(apps("deployments", namespace=namespace), f"{MANAGED_BY}={MANAGER}")
        found = listing.items
        if listing.version < latest:
            self.workloads.forget_versions()
        for name in before - {Name.of(body) for body in found}:
            self.workloads.lose(name)
        for body in found:
            self.workload_changed(body)

    async def resync_pods(self, namespace: str) -> None:
        listing = await self.listed(core("pods", namespace=namespace), watched_pods(), keep=slim_pod)
        await self.members.resynced(listing.items, namespace)

    async def resync_resources(self, namespace: str) -> None:
        before = {name: entry for name, entry in self.entries.items() if namespace in {"", name.namespace}}
        latest = max((version(entry.body) for entry in before.values()), default=0)
        listing = await self.listed(queues(namespace=namespace))
        found = listing.items
        if listing.version < latest:
            self.forget_versions()
        names = {Name.of(body) for body in found}
        for name, entry in before.items():  # what came while the list was under way may not be in it
            if name not in names and self.entries.get(name) is entry:
                self.resource_gone(entry.body)
        for body in found:
            self.resource_changed(body)

    def forget_versions(self) -> None:
        """Versions went back, as after a restored etcd: what is listed now replaces what is known."""
        log.warning("the API server went back to an earlier state: what it lists replaces what was known")
        for entry in self.entries.values():
            entry.body = {**entry.body, "metadata": {**entry.body["metadata"], "resourceVersion": "0"}}

    async def listed(
        self, path: str, selector: str = "", keep: Callable[[Manifest], Manifest] | None = None
    ) -> "Listing":
        """All objects of a list, of each what *keep* keeps of it."""
        items: list[Manifest] = []
        listed_at = 0
        async for page, at in self.api.pages(path, selector):
            items.extend(map(keep, page) if keep else page)
            listed_at = at
        return Listing(items, listed_at)


def may_pass(error: ApiRefused) -> bool:
    return error.status not in UNPROCESSABLE and not any(words in str(error) for words in UNREADABLE)


def unexpected(entry: Entry, error: Exception) -> BadSpec:
    """No spec of one resource ends the work for all others, whatever it makes this process do."""
    log.error("%s: its spec cannot be read", Name.of(entry.body), exc_info=error)
    return BadSpec(f"the operator cannot read this spec: {error!r}")


def question(resource: Resource) -> tuple[RedisTarget, Subscription]:
    """Which Redis is asked, and for what."""
    return RedisTarget.of(resource), Subscription.of(resource)


def silence(resource: Resource) -> Doubt:
    period = resource.spec.scaling.poll_period_seconds
    message = f"no reading came for {resource.policy.stale_seconds:.0f} s, though one is due every {period} s"
    return Doubt("StaleObservation", message)


def observation(entry: Entry, workload: Workload | None, reading: Reading) -> Observation:
    """A workload that is not there, perhaps because somebody deleted it, had what the status says."""
    known = (entry.body.get("status") or {}).get("desiredReplicas", 0)
    replicas = workload.wanted if workload else known
    return Observation(replicas, reading.shards, reading.read_at, reading.doubt)


def slim(body: Manifest) -> Manifest:
    """What is asked again and again: most of an object is its spec, a copy of that by kubectl, and bookkeeping."""
    metadata = body["metadata"]
    kept = {key: metadata[key] for key in KEPT if key in metadata}
    annotations = {k: value for k, value in (metadata.get("annotations") or {}).items() if k in {PAUSE, ACCEPT}}
    return {"metadata": kept | {"annotations": annotations}, "status": body.get("status") or {}}


def asked(body: Manifest) -> tuple[object, ...]:
    """What its author asks of a resource; all else of it is the server's or ours."""
    metadata = body["metadata"]
    return metadata.get("generation"), (metadata.get("annotations") or {}).get(PAUSE), accepted(body)


def accepted(body: Manifest) -> str | None:
    """The word by which a person took a loss of data for granted."""
    word: str | None = (body["metadata"].get("annotations") or {}).get(ACCEPT)
    return word


def resumed(body: Manifest) -> History:
    """
    What an earlier operator learned. Markers count only when it knew this spec: another one may name another Redis.
    """
    status = body.get("status") or {}
    is_known = status.get("observedGeneration") == body["metadata"].get("generation")
    handlers = status.get("handlers") or []
    seconds = {
        handler["name"]: handler["microsecondsPerRequest"] / 1e6
        for handler in handlers
        if handler.get("microsecondsPerRequest")
    }
    born = {
        Shard(handler["name"], index, len(handler["born"])): marker
        for handler in handlers
        for index, marker in enumerate(handler.get("born") or [])
        if marker and is_known
    }
    return History.resumed(seconds, born)


def measure(name: Name, workload: Workload | None, seen: Observation, decision: Decision) -> None:
    metrics.desired_replicas.labels(*name).set(seen.replicas if decision.replicas is None else decision.replicas)
    metrics.current_replicas.labels(*name).set(workload.existing if workload else 0)
    metrics.ready_replicas.labels(*name).set(workload.ready if workload else 0)
    metrics.known.labels(*name).set(decision.doubt is None)
    if seen.shards:
        metrics.lanes.labels(*name).set(decision.lanes)
        metrics.depth.labels(*name).set(seen.depth)
        metrics.lag_seconds.labels(*name).set(seen.lag_seconds)
        metrics.deserted_depth.labels(*name).set(sum(state.depth for state in seen.shards if state.is_deserted))


def measure_conditions(name: Name, told: Manifest) -> None:
    """What alerts speak of is what the status says."""
    is_kept = status.condition(told, status.AVAILABLE).get("status") == "False"
    metrics.workers_available.labels(*name).set(not is_kept)
    metrics.pinned.labels(*name).set(status.condition(told, PINNED).get("status") == "True")
