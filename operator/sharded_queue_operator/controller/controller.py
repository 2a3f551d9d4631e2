"""
Each resource again and again: observe, decide, apply.

News comes from watches, from Redis and from lists of everything, and only ever says which resource to reconcile. So
it does not matter whether one piece of news is lost, late, or comes twice.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from time import monotonic

from sharded_queue.state import ShardState
from sharded_queue_operator import metrics
from sharded_queue_operator.allowed import Allowed
from sharded_queue_operator.cluster import contest
from sharded_queue_operator.cluster.api import Api, core, is_newer
from sharded_queue_operator.cluster.contest import Contests
from sharded_queue_operator.cluster.pod import resource_of
from sharded_queue_operator.cluster.pods import PodTracker
from sharded_queue_operator.cluster.rollouts import Rollouts
from sharded_queue_operator.cluster.workloads import Workloads
from sharded_queue_operator.controller.apply import Applier, now
from sharded_queue_operator.controller.entry import CacheEntry
from sharded_queue_operator.controller.lease_recovery import LeaseRecovery
from sharded_queue_operator.controller.scale_down import ScaleDown, Step
from sharded_queue_operator.controller.sharing import Sharing
from sharded_queue_operator.controller.watchdog import Watchdog
from sharded_queue_operator.controller.workqueue import WorkQueue
from sharded_queue_operator.errors import ApiRefused, BadSpec, NotOurs
from sharded_queue_operator.polling.observer import Observer
from sharded_queue_operator.polling.reader import Reading
from sharded_queue_operator.polling.timetable import LONGEST_PAUSE_SECONDS
from sharded_queue_operator.resource import status
from sharded_queue_operator.resource.conditions import (
    AVAILABLE,
    CONTESTED,
    OUTDATED,
    PINNED,
    ROLLING_OUT,
    Condition,
    by_type,
    condition,
    seconds_until_change,
)
from sharded_queue_operator.resource.deployment import Manifest, deployment
from sharded_queue_operator.resource.mark import Mark
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.pin import Pin, pin
from sharded_queue_operator.resource.spec import Resource, parsed
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.decide import Decision, decide
from sharded_queue_operator.scaling.observation import Observation
from sharded_queue_operator.scaling.rest import next_change
from sharded_queue_operator.settings import Settings

log = logging.getLogger(__name__)

UNPROCESSABLE = frozenset(range(400, 423)) - {408, 409, 410}
"""
The API server will answer the same again until the resource, or the rights of the operator, change. A conflict, a call
that timed out and a version that is gone are not of that kind: the same call may succeed a moment later.
"""

UNREADABLE = ("failed to create typed patch object", "failed to convert new object")
"""The API server's words for a template that it cannot read. It answers 500, as if it were at fault itself."""

TRIES = 3
"""Failures in a row, a second or two together, after which a refusal that may be transient goes into the status."""


class Controller:
    """What is known of all resources, the news that changes it, and the reconciliation of one resource."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self._workers = settings.workers
        self.entries: dict[Name, CacheEntry] = {}
        self.queue: WorkQueue[Name] = WorkQueue()
        self.rollouts = Rollouts(settings.rollout_percent)
        self.workloads = Workloads(api, self.rollouts)
        self.pods = PodTracker(api)
        self.observer = Observer(self._read_secret, self.on_reading, Allowed(settings.allowed_redis))
        self._watchdog = Watchdog(self._on_silence)
        self._applier = Applier(api, self.workloads, settings.identity, settings.status_seconds)
        self._scale_down = ScaleDown(self.pods, self.observer.coordinator)
        self._lease_recovery = LeaseRecovery(self.pods, self.observer.coordinator)
        self._contests = Contests()
        self._sharing = Sharing()
        self._failed_rollouts = 0
        self._progress_at = monotonic()
        self.is_running = False

    async def run(self) -> None:
        self.is_running = True
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(self._workers):
                    tasks.create_task(self._work_for_ever(), name=f"reconcile {number}")
        finally:
            self.is_running = False
            self._watchdog.close()
            await self.observer.close()

    def note_progress(self) -> None:
        self._progress_at = monotonic()

    def idle_seconds(self) -> float:
        """Since a resource was last reconciled, or the last list was read."""
        return monotonic() - self._progress_at

    def check_pollers(self) -> None:
        """Raise the error that ended a poller, if one ended: none should."""
        for error in self.observer.failed():
            raise error

    # News

    def resource_changed(self, body: Manifest) -> None:
        name = Name.of(body)
        if body["metadata"].get("deletionTimestamp"):
            self.resource_gone(body)
            return
        entry = self.entries.get(name)
        if entry is None or not entry.is_of(body):
            self.entries[name] = entry = CacheEntry.of(body)
            self._read_spec(entry, body)
        elif is_newer(body, entry.body) and entry.update(body):
            self._read_spec(entry, body)
            self.queue.hurry(name)
        self.queue.add(name)

    def resource_gone(self, body: Manifest) -> None:
        name = Name.of(body)
        if self.entries.pop(name, None) is None:
            return
        self._stir(*self._sharing.forget(name))
        for each in (
            self.observer,
            self._watchdog,
            self.workloads,
            self.rollouts,
            self.pods,
            self._scale_down,
            self._applier,
            self._contests,
            self.queue,
        ):
            each.forget(name)
        metrics.forget(*name)
        self.queue.add(name)  # for the workload that it scaled

    def workload_changed(self, body: Manifest) -> None:
        if owner := self.workloads.keep(body):
            self.queue.add(owner)
            self._go_on_rolling()

    def workload_gone(self, body: Manifest) -> None:
        if owner := self.workloads.drop(body):
            self.queue.hurry(owner)
            self._go_on_rolling()

    def all_workloads_known(self) -> None:
        """What another leader began counts from here on."""
        self.rollouts.is_counted = True
        self._go_on_rolling()

    def _go_on_rolling(self) -> None:
        stages = self.rollouts.stages()
        for stage, count in stages.items():
            metrics.rollouts.labels(stage).set(count)
        if stages["failed"] != self._failed_rollouts:  # the condition of each that waits says so
            self._failed_rollouts = stages["failed"]
            self._stir(*self.rollouts.waiting)
        for name in self.rollouts.next(len(self.workloads.known)):
            self.queue.add(name)

    def is_left(self, path: str, body: Manifest) -> bool:
        """Whether no resource names a workload that is marked as scaled. One with an invalid spec may name it."""
        found = Mark.of(body)
        entry = self.entries.get(Name(body["metadata"]["namespace"], found.queue)) if found else None
        is_unknown = entry is not None and entry.resource is None
        return found is not None and not is_unknown and self.workloads.targets.is_left(path)

    def target_left(self, path: str, body: Manifest) -> None:
        """No resource names a marked workload: the one that scaled it was deleted while nobody looked."""
        if owner := self.workloads.targets.leave(path, body):
            self.queue.add(owner)

    def pod_changed(self, body: Manifest) -> None:
        self._stir(resource_of(body))
        self._pod_lost(self.pods.keep(body))

    def pod_gone(self, body: Manifest) -> None:
        self._stir(resource_of(body))
        self._pod_lost(self.pods.drop(body))

    def _pod_lost(self, owner: Name | None) -> None:
        """A worker of *owner* has ended: read at once, in case it held threads."""
        if owner:
            self.observer.hurry(owner)

    def _stir(self, *names: Name | None) -> None:
        """Reconcile these with their next readings, whatever the readings say."""
        for name in names:
            if name and (entry := self.entries.get(name)):
                entry.is_stirred = True

    def on_reading(self, name: Name, reading: Reading) -> None:
        entry = self.entries.get(name)
        if entry and entry.resource:
            # The pauses between readings grow while the queue is in doubt.
            pause = LONGEST_PAUSE_SECONDS if reading.doubt else 0
            self._watchdog.expect(name, entry.resource.policy.stale_seconds + pause)
            if entry.hear(reading, monotonic()):
                self.queue.add(name)
            elif any(state.depth for state in reading.shards):
                _export_ages(name, reading.shards)

    def _on_silence(self, name: Name) -> None:
        entry = self.entries.get(name)
        if entry and entry.resource:
            entry.doubt(entry.resource)
            self.queue.add(name)

    def _read_spec(self, entry: CacheEntry, body: Manifest) -> None:
        """An invalid spec changes nothing: the workers stay as they are until the spec is valid."""
        try:
            resource = parsed(body)
            if resource.spec.worker:
                deployment(resource, 0)
            entry.accept(resource)
            self.workloads.claim(resource)
            self._go_on_rolling()
            self._stir(*self._sharing.claim(resource))
            self._watchdog.expect(resource.name, resource.policy.stale_seconds)
            self.observer.subscribe(resource)
        except Exception as error:
            entry.complaint = error if isinstance(error, BadSpec) else _unexpected(entry, error)
            self.observer.forget(entry.name)
            self._watchdog.forget(entry.name)

    async def _read_secret(self, name: Name) -> Manifest | None:
        return await self._api.find(core("secrets", name))

    # Work

    async def _work_for_ever(self) -> None:
        while True:
            try:
                async with self.queue.next() as name:
                    await self.reconcile(name)
                    await asyncio.sleep(0)  # a thousand that wait for nothing would hold the event loop
            except ApiRefused as error:
                log.warning("%s; trying again", status.short(str(error)))
            except Exception:
                log.exception("a reconciliation failed; trying again")

    async def reconcile(self, name: Name) -> None:
        self.note_progress()
        await self._release(name)
        entry = self.entries.get(name)
        if entry is None:
            return
        entry.is_stirred, entry.due_at = False, -inf
        metrics.initialise(*name)
        metrics.accepted.labels(*name).set(entry.complaint is None)
        if entry.complaint:
            metrics.drop_readings(*name)
            await self._refuse(entry, "BadSpec", str(entry.complaint))
        elif entry.resource and entry.reading:
            await self._follow(entry, entry.resource, entry.reading)

    async def _release(self, name: Name) -> None:
        """A refusal that would only come again waits for the next list."""
        try:
            await self.workloads.targets.release(name)
        except ApiRefused as error:
            if _is_transient(error):
                raise
            log.warning("%s: what it scaled is not restored: %s", name, error)

    async def _follow(self, entry: CacheEntry, resource: Resource, reading: Reading) -> None:
        """Act on a reading. A refusal that would only come again goes into the status, and the resource rests."""
        try:
            await self._act(entry, resource, reading)
        except NotOurs as error:
            await self._refuse(entry, error.reason, str(error))
            self.queue.rest(resource.name)
        except ApiRefused as error:
            if _is_transient(error) and self.queue.failures_of(resource.name) < TRIES:
                raise
            await self._refuse(entry, "WorkloadRefused", str(error))
            self.queue.rest(resource.name)

    async def _act(self, entry: CacheEntry, resource: Resource, reading: Reading) -> None:
        workload = await self.workloads.find(resource)
        seen = entry.observation(workload, reading)
        pinned = pin(resource.policy, resource.spec.pin_seconds, entry.body.get("status") or {}, now())
        entry.catch_up(workload, pinned.policy)
        history = entry.history
        decision, conditions = self._decide(entry, resource, workload, seen, pinned)
        if workload:
            await self._applier.emit(entry.body, await self._lease_recovery.reclaim(resource, workload, seen))
        step = await self._scale_down.follow(resource, workload, *self._with_sharers(resource, seen, decision))
        if step.is_prepared:
            decision, conditions = step.decision, [*conditions, step.condition]
            problems = await self.pods.problems(resource.name, workload)
            body = await self._applier.apply(
                resource, entry.body, workload, seen, decision, problems, conditions, pinned.record
            )
            self._note_write(resource.name, workload, decision)
            entry.wrote(body)
            if pinned.is_over:
                await self._applier.remove_pin(entry.body, pinned.condition.message)
        elif step.is_urgent:
            self.observer.hurry(resource.name)
        if entry.history is history:  # else the spec changed meanwhile, and what was learned is void
            entry.history = decision.history
            entry.due_at = self._due_at(entry, resource, seen, decision, step, pinned)
        _export_metrics(resource.name, workload, seen, decision)
        _export_conditions(resource.name, entry.body.get("status") or {})

    def _due_at(
        self, entry: CacheEntry, resource: Resource, seen: Observation, decision: Decision, step: Step, pinned: Pin
    ) -> float:
        """When to reconcile again although nothing happens: -inf for at the next reading."""
        if not step.is_prepared or step.condition.status == "True" or pinned.is_over:
            return -inf
        at, conditions = monotonic(), by_type(entry.body.get("status") or {})
        policy = resource.policy.fitted(decision.history.start_time.seconds)
        return min(
            next_change(seen, resource.policy, decision, at),
            at + pinned.seconds_left,
            at + seconds_until_change(seen, policy, conditions, now()),
            self._contests.next_change(resource.name, at),
            self.workloads.targets.next_read(resource),
            self._applier.next_write(resource.name),
        )

    def _decide(
        self, entry: CacheEntry, resource: Resource, workload: Workload | None, seen: Observation, pinned: Pin
    ) -> tuple[Decision, Sequence[Condition]]:
        """The decision, and the conditions that it does not make itself."""
        decision = decide(seen, pinned.policy, entry.history, monotonic())
        contested = self._contested(resource.name, workload)
        if contested.status == "True" and not resource.policy.is_suspended:
            decision = replace(decision, replicas=None)
        return decision, [pinned.condition, self._sharing.condition(resource), contested]

    def _contested(self, name: Name, workload: Workload | None) -> Condition:
        """Whether another writer keeps changing the replicas; the operator then leaves them alone."""
        if workload is None:
            return contest.condition(rests=False, writer="")
        rests = self._contests.rests(name, workload.wanted, workload.writer, monotonic())
        return contest.condition(rests=rests, writer=workload.writer, applier=workload.applier)

    def _with_sharers(
        self, resource: Resource, seen: Observation, decision: Decision
    ) -> tuple[Observation, Decision, Sequence[Resource]]:
        """What is seen of all resources whose requests the same workers handle, as old as the oldest reading of one."""
        entries = [self.entries.get(name) for name in self.workloads.targets.sharers(resource)]
        for entry in filter(None, entries):
            reading = entry.reading or Reading(float("-inf"))
            shards, read_at = (*seen.shards, *reading.shards), min(seen.read_at, reading.read_at)
            seen = replace(seen, shards=shards, read_at=read_at, doubt=seen.doubt or reading.doubt)
        return seen, decision, [entry.resource for entry in entries if entry and entry.resource]

    def _note_write(self, name: Name, workload: Workload | None, decision: Decision) -> None:
        if decision.replicas is not None and (workload is None or decision.replicas != workload.wanted):
            self._contests.wrote(name, decision.replicas, monotonic())

    async def _refuse(self, entry: CacheEntry, reason: str, message: str) -> None:
        after = status.refused_status(entry.body, reason, message, now())
        entry.wrote(await self._applier.write_status(entry.body, after))


def _is_transient(error: ApiRefused) -> bool:
    return error.status not in UNPROCESSABLE and not any(words in str(error) for words in UNREADABLE)


def _unexpected(entry: CacheEntry, error: Exception) -> BadSpec:
    """Whatever error the spec of one resource causes, the work for the others goes on."""
    log.error("%s: its spec cannot be read", entry.name, exc_info=error)
    return BadSpec(f"the operator cannot read this spec: {error!r}")


def _export_metrics(name: Name, workload: Workload | None, seen: Observation, decision: Decision) -> None:
    metrics.desired_replicas.labels(*name).set(seen.replicas if decision.replicas is None else decision.replicas)
    metrics.recommended_replicas.labels(*name).set(decision.recommendation)
    metrics.current_replicas.labels(*name).set(workload.existing if workload else 0)
    metrics.ready_replicas.labels(*name).set(workload.ready if workload else 0)
    metrics.known.labels(*name).set(decision.doubt is None)
    if seen.shards:
        metrics.lanes.labels(*name).set(decision.lanes)
        metrics.depth.labels(*name).set(seen.depth)
        _export_ages(name, seen.shards)


def _export_ages(name: Name, shards: Sequence[ShardState]) -> None:
    """What grows while nothing happens."""
    metrics.lag_seconds.labels(*name).set(max(state.lag_seconds for state in shards))
    metrics.overdue_seconds.labels(*name).set(max(state.overdue_seconds for state in shards))
    metrics.unconsumed_depth.labels(*name).set(sum(state.depth for state in shards if state.is_unconsumed))


def _export_conditions(name: Name, written: Manifest) -> None:
    """The gauges that alerts use repeat what the status says."""
    available = condition(written, AVAILABLE)
    is_kept = available.get("status") == "False" and available.get("reason") != ROLLING_OUT
    metrics.workers_available.labels(*name).set(not is_kept)
    metrics.contested.labels(*name).set(condition(written, CONTESTED).get("status") == "True")
    metrics.pinned.labels(*name).set(condition(written, PINNED).get("status") == "True")
    metrics.outdated.labels(*name).set(condition(written, OUTDATED).get("status") == "True")
