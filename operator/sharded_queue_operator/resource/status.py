"""
What a resource says about itself: its status, its conditions, and the events that follow from their changes. Pure.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sharded_queue.printable import counted, printable
from sharded_queue_operator.resource.availability import Problem, worst
from sharded_queue_operator.resource.conditions import CONCERNS, Condition, Running, age, concerns
from sharded_queue_operator.resource.deployment import Manifest
from sharded_queue_operator.resource.spec import Handler, Resource
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.decide import Decision
from sharded_queue_operator.scaling.observation import Observation

AVAILABLE = "WorkersAvailable"

LOUD = ("observedGeneration", "desiredReplicas", "replicas", "readyReplicas", "selector", "reason")
"""
A change of these is told at once, and that of a condition. The others follow the queue by the second, and are told now
and then.
"""

LEARNED_CHANGE = 0.2
"""Seconds per request are told anew when they changed by so much of themselves."""

NOTABLE_CHANGE = 0.1
"""Of depth and lag."""

SAME_SECONDS = 2
"""
Two readings of one time may be so far apart: between them lie roundings, and the way from Redis to here. Beyond that,
a tenth of its age is near enough.
"""

TIME = "%Y-%m-%dT%H:%M:%SZ"


MOST_CHARACTERS = 1_000
"""Of a message, which an event tells too. Redis, the API server and a template may say more than a status can hold."""


class Event(NamedTuple):
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def refused_status(body: Manifest, reason: str, message: str, now: str) -> Manifest:
    """Of a resource that cannot be served: what was known of it stays."""
    before: Manifest = body.get("status") or {}
    generation = body["metadata"].get("generation", 0)
    conditions = updated(before, [Condition("Ready", "False", reason, message)], generation, now)
    after = {"observedGeneration": generation, "reason": reason, "message": short(message), "conditions": conditions}
    return {**before, **after}


def status_of(
    resource: Resource,
    workload: Workload | None,
    seen: Observation,
    decision: Decision,
    *,
    before: Manifest,
    read: str,
    now: str,
    problems: Sequence[Problem] = (),
    besides: Sequence[Condition] = (),
) -> Manifest:
    """
    *read*: when the queue was read, which may be a while before *now*. *problems*: those of the worker pods. *besides*:
    conditions that do not follow from what was seen and decided.
    """
    desired = seen.replicas if decision.replicas is None else decision.replicas
    ready = workload.ready if workload else 0
    available = availability(desired, workload, problems)
    running = Running(ready, desired, is_kept=available.status == "False")
    worries = concerns(seen, resource.policy, by_type(before), now, running)
    conditions = [*conditions_of(decision, resource, available), available, *besides, *worries]
    status = {
        **before,
        "observedGeneration": resource.generation,
        "desiredReplicas": desired,
        "replicas": workload.existing if workload else 0,
        "readyReplicas": ready,
        "selector": workload.selector if workload else "",
        "reason": decision.reason,
        "message": short(decision.message),
        "conditions": updated(before, conditions, resource.generation, now),
    }
    if not seen.shards:
        return status
    status.pop("oldestRequestTime", None)
    return status | queue_status(resource, seen, decision, before) | oldest_request(seen, before, read)


def oldest_request(seen: Observation, before: Manifest, read: str) -> Manifest:
    """A time, not an age, which would have to be written again and again for a queue that stands still."""
    if not seen.lag_seconds:
        return {}
    since = (datetime.fromisoformat(read) - timedelta(seconds=seen.lag_seconds)).strftime(TIME)
    told = before.get("oldestRequestTime", since)
    is_same = abs(age(told, since)) <= max(SAME_SECONDS, NOTABLE_CHANGE * seen.lag_seconds)
    return {"oldestRequestTime": told if is_same else since}


def queue_status(resource: Resource, seen: Observation, decision: Decision, before: Manifest) -> Manifest:
    known = {handler["name"]: handler for handler in before.get("handlers") or []}
    return {
        "recommendedReplicas": decision.wish,
        "depth": seen.depth,
        "threads": {"total": seen.threads, "ready": seen.ready, "bound": seen.bound, "blocked": seen.blocked},
        "handlers": [learned(h, seen, decision, known.get(h.name, {})) for h in resource.spec.handlers],
    }


def learned(handler: Handler, seen: Observation, decision: Decision, before: Mapping[str, Any]) -> Manifest:
    entry: Manifest = {"name": handler.name}
    # A marker that vanished stays in the history, and so in the status: a new operator is to know of the loss too.
    counters = [decision.history.counters.get(s.shard) for s in seen.shards if s.shard.handler == handler.name]
    if counters:
        entry["born"] = [(each and each.born) or 0 for each in counters]
    if service_time := decision.history.service_times.get(handler.name):
        old = before.get("microsecondsPerRequest", 0) / 1e6
        changed = abs(service_time.seconds - old) > LEARNED_CHANGE * old
        entry["microsecondsPerRequest"] = max(1, round(float(f"{service_time.seconds if changed else old:.2g}") * 1e6))
    return entry


def availability(desired: int, workload: Workload | None, problems: Sequence[Problem]) -> Condition:
    """Whether the workers that were asked for run, or are on their way."""
    ready, of_workload = (workload.ready, workload.problem) if workload else (0, None)
    if ready >= desired:
        return Condition(AVAILABLE, "True", "AllReady", "all workers that were asked for are ready")
    count = f"{ready} of {counted(desired, 'worker')} ready"
    if problem := worst([*problems, *([of_workload] if of_workload else [])]):
        return Condition(AVAILABLE, "False", problem.reason, f"{count}: {problem.message}")
    return Condition(AVAILABLE, "True", "Starting", count)


def conditions_of(decision: Decision, resource: Resource, available: Condition) -> list[Condition]:
    doubt, policy = decision.doubt, resource.policy
    if doubt:
        known = Condition("QueueKnown", "False", doubt.reason, doubt.message)
        ready = Condition("Ready", "False", doubt.reason, doubt.message)
    else:
        known = Condition("QueueKnown", "True", "Read", "Redis answers for all handlers")
        ready = Condition("Ready", "True", "Scaling", "the workers follow the queue")
        if available.status == "False":
            ready = available._replace(type="Ready")
    if decision.lanes > policy.lanes:
        message = f"the requests would keep more than {policy.max_replicas} workers busy"
        return [ready, known, Condition("ScalingLimited", "True", "TooFewReplicas", message)]
    return [ready, known, Condition("ScalingLimited", "False", "WithinBounds", "maxReplicas is not reached")]


def updated(before: Manifest, conditions: Sequence[Condition], generation: int, now: str) -> list[Manifest]:
    """With the time of their last change; conditions that are not spoken of stay."""
    known = dict(by_type(before))
    for condition in conditions:
        old = known.get(condition.type, {})
        since = old["lastTransitionTime"] if old.get("status") == condition.status else now
        known[condition.type] = {
            **condition._asdict(),
            "message": short(condition.message),
            "observedGeneration": generation,
            "lastTransitionTime": since,
        }
    return list(known.values())


def short(message: str) -> str:
    """One line that a terminal and a log can show, as sentences quote names, templates and answers of servers."""
    message = printable(message)
    return message if len(message) <= MOST_CHARACTERS else f"{message[: MOST_CHARACTERS - 2]} …"


def is_urgent(before: Manifest, after: Manifest) -> bool:
    return any(before.get(field) != after.get(field) for field in LOUD) or stances(before) != stances(after)


def stances(status: Manifest) -> list[Any]:
    """The conditions without their sentences, which may follow the queue."""
    return [{**each, "message": None} for each in status.get("conditions") or []]


def is_notable(before: Manifest, after: Manifest, now: str) -> bool:
    """Whether what may wait changed enough to be told before long."""
    if any(before.get(field) != after.get(field) for field in ("handlers", "conditions")):
        return True
    numbers = [(status.get("depth", 0), lag(status, now)) for status in (before, after)]
    return any(abs(new - old) > NOTABLE_CHANGE * old for old, new in zip(*numbers, strict=True))


def is_emptied_or_filled(before: Manifest, after: Manifest) -> bool:
    return bool(before.get("depth")) != bool(after.get("depth"))


def lag(status: Manifest, now: str) -> float:
    """Seconds, as *status* tells it at a moment."""
    return age(status["oldestRequestTime"], now) if "oldestRequestTime" in status else 0.0


def patch(before: Manifest, after: Manifest) -> Manifest:
    """The fields that differ; None removes one."""
    gone = {key: None for key in before if key not in after}
    return gone | {key: value for key, value in after.items() if before.get(key) != value}


def events_of(before: Manifest, after: Manifest) -> list[Event]:
    """One for each thing that a person should hear of when *before* became *after*."""
    events = []
    was, now = condition(before, "QueueKnown"), condition(after, "QueueKnown")
    if now.get("status") == "False" and said(was) != said(now):
        events.append(Event("Warning", now["reason"], now["message"]))
    if now.get("status") == "True" and was.get("status") == "False":
        events.append(Event("Normal", "RedisFound", f"{now['message']} again"))
    was, refused = condition(before, "Ready"), condition(after, "Ready")
    if refused.get("status") == "False" and refused["reason"] != now.get("reason") and said(was) != said(refused):
        events.append(Event("Warning", refused["reason"], refused["message"]))
    return events + [Event("Warning", type_, condition(after, type_)["message"]) for type_ in come(before, after)]


def come(before: Manifest, after: Manifest) -> list[str]:
    """The concerns that are new."""
    return [
        type_
        for type_ in CONCERNS
        if condition(after, type_).get("status") == "True" and condition(before, type_).get("status") != "True"
    ]


def by_type(status: Manifest) -> dict[str, Any]:
    return {condition["type"]: condition for condition in status.get("conditions") or []}


def said(condition: Mapping[str, Any]) -> tuple[Any, Any]:
    return condition.get("status"), condition.get("reason")


def condition(status: Manifest, type_: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = by_type(status).get(type_, {})
    return found


def scaled_event(decision: Decision, before: int) -> Event:
    assert decision.replicas is not None
    direction = "ScaledUp" if decision.replicas > before else "ScaledDown"
    return Event("Normal", direction, f"from {before} to {decision.replicas}: {decision.message}")
