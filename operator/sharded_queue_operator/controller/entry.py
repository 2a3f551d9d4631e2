"""
What the controller keeps of one resource between two reconciliations.

The spec is kept as values, and of the API server's object only what each reconciliation reads: a thousand whole objects
would be most of this process.
"""

from dataclasses import dataclass, field
from math import inf
from time import monotonic

from sharded_queue.tube import Shard
from sharded_queue_operator.cluster.api import is_newer
from sharded_queue_operator.errors import BadSpec
from sharded_queue_operator.polling.connection import RedisTarget
from sharded_queue_operator.polling.reader import Reading, Subscription
from sharded_queue_operator.resource.deployment import Manifest
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import ACCEPT, PAUSE, ROLLOUT, Resource
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.decide import decide
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.observation import Doubt, Observation
from sharded_queue_operator.scaling.policy import Policy

KEPT = ("namespace", "name", "uid", "resourceVersion", "generation")


@dataclass(slots=True)
class CacheEntry:
    """One resource: its object without the spec, its spec as values or what is wrong with it, and what was observed."""

    body: Manifest
    resource: Resource | None = None
    complaint: BadSpec | None = None
    reading: Reading | None = None
    history: History = field(default_factory=History)
    due_at: float = -inf
    """When a reconciliation is due, though readings say nothing new; -inf for at the next reading."""
    same_at: float | None = None
    """When the last reading came that said nothing new since the last decision."""
    before: tuple[Reading, float] | None = None
    """The last reading that said nothing new, and when it came, if one that says something has come since."""
    is_stirred: bool = False
    """Whether something else than the queue has changed since the last reconciliation began."""

    @classmethod
    def of(cls, body: Manifest) -> "CacheEntry":
        return cls(_compact(body), history=restored_history(body))

    @property
    def name(self) -> Name:
        return Name.of(self.body)

    def is_of(self, body: Manifest) -> bool:
        """Whether *body* is the same object, and not a later one of the same name."""
        return bool(self.body["metadata"]["uid"] == body["metadata"]["uid"])

    def update(self, body: Manifest) -> bool:
        """Take in a newer version of the object; whether its author asks for something else."""
        before, self.body = self.body, _compact(body)
        if _accepted_loss(body) and _accepted_loss(before) != _accepted_loss(body):
            self.history = self.history.without_data()
            self._forget_repetitions()
        return _spec_version(before) != _spec_version(body)

    def hear(self, reading: Reading, now: float) -> bool:
        """Take in a reading; whether it takes a reconciliation."""
        is_same = self.reading is not None and self.reading.is_same(reading)
        if self.reading and not is_same and self.same_at is not None:
            self.before = self.before or (self.reading, self.same_at)
        self.same_at = now if is_same else None
        self.reading = reading
        return not is_same or self.is_stirred or now >= self.due_at

    def catch_up(self, workload: Workload | None, policy: Policy) -> None:
        """
        Learn from the last reading that said nothing new, before one that says something: it took no decision, but the
        time until it was spent as the decision before found it.
        """
        if self.before:
            reading, at = self.before
            self.history = decide(self.observation(workload, reading), policy, self.history, at).history
        self._forget_repetitions()

    def _forget_repetitions(self) -> None:
        self.same_at = self.before = None

    def wrote(self, body: Manifest) -> None:
        """Take in the server's answer to our write. A change by the author is left to the watch, which reports it."""
        if is_newer(body, self.body) and _spec_version(body) == _spec_version(self.body):
            self.body = _compact(body)

    def accept(self, resource: Resource) -> None:
        """
        Take in a valid spec. A reading answers the question that was asked, and markers are those of the Redis that
        holds them: neither outlives a change of these.
        """
        before = self.resource
        if before and _question(before) != _question(resource):
            self.reading = None
            self._forget_repetitions()
        if before and before.spec.redis.home != resource.spec.redis.home:
            self.history = self.history.without_data()
        self.resource, self.complaint = resource, None

    def doubt(self, resource: Resource) -> None:
        """No reading came, not even one with a doubt: something in this process is at fault."""
        read_at = self.reading.read_at if self.reading else float("-inf")
        period = resource.spec.scaling.poll_period_seconds
        message = f"no reading came for {resource.policy.stale_seconds:.0f} s, though one is due every {period} s"
        self.hear(Reading(read_at, doubt=Doubt("StaleObservation", message)), monotonic())

    def observation(self, workload: Workload | None, reading: Reading) -> Observation:
        """A workload that is not there, perhaps because somebody deleted it, had the replicas that the status says."""
        known = (self.body.get("status") or {}).get("desiredReplicas", 0)
        replicas = workload.wanted if workload else known
        return Observation(replicas, reading.shards, reading.read_at, reading.doubt, reading.is_hurried)

    def forget_version(self) -> None:
        """Versions went back: whatever comes next is newer than what is known."""
        self.body = {**self.body, "metadata": {**self.body["metadata"], "resourceVersion": "0"}}


def _question(resource: Resource) -> tuple[RedisTarget, Subscription]:
    """What a reading answers: which Redis was read, and for what."""
    return RedisTarget.of(resource), Subscription.of(resource)


def _compact(body: Manifest) -> Manifest:
    """What each reconciliation reads. Most of an object is its spec, a copy of that by kubectl, and bookkeeping."""
    metadata = body["metadata"]
    kept = {key: metadata[key] for key in KEPT if key in metadata}
    annotations = {
        k: value for k, value in (metadata.get("annotations") or {}).items() if k in {PAUSE, ACCEPT, ROLLOUT}
    }
    return {"metadata": kept | {"annotations": annotations}, "status": body.get("status") or {}}


def _spec_version(body: Manifest) -> tuple[object, ...]:
    """Changes with what the author of a resource asks for; the rest of the object is the server's or ours."""
    metadata = body["metadata"]
    annotations = metadata.get("annotations") or {}
    return metadata.get("generation"), annotations.get(PAUSE), annotations.get(ROLLOUT), _accepted_loss(body)


def _accepted_loss(body: Manifest) -> str | None:
    """The word by which a person accepted a loss of data."""
    word: str | None = (body["metadata"].get("annotations") or {}).get(ACCEPT)
    return word


def restored_history(body: Manifest) -> History:
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
    return History.restored(seconds, born)
