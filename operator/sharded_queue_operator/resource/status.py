"""
What a resource reports of itself: its status, and whether a change of it is worth a write. Pure.

Fields that people and programs act on are written at once. The others follow the queue by the second and are written
now and then.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sharded_queue.printable import counted, printable
from sharded_queue_operator.resource.availability import Problem, worst
from sharded_queue_operator.resource.conditions import (
    AVAILABLE,
    CONTESTED,
    DEPRECATED,
    NOT_STARTED,
    QUEUE_KNOWN,
    READY,
    ROLLING_OUT,
    SCALING_LIMITED,
    Condition,
    Readiness,
    by_type,
    lanes_condition,
    seconds_between,
    thread_conditions,
)
from sharded_queue_operator.resource.deployment import Manifest
from sharded_queue_operator.resource.spec import PAUSE, Handler, Resource
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.decide import Decision
from sharded_queue_operator.scaling.observation import Observation

IMMEDIATE_FIELDS = (
    *("observedGeneration", "desiredReplicas", "recommendedReplicas", "replicas", "readyReplicas", "selector"),
    *("reason", "pin"),
)
"""A change of these is written at once, as is one of a condition."""

LEARNED_CHANGE = 0.2
"""Seconds per request are updated when they have changed by this part of themselves."""

NOTABLE_CHANGE = 0.1
"""Depth and lag are worth a write when they have changed by this part of themselves."""

SAME_SECONDS = 2
"""
Two readings of one time may differ by this much, as both are rounded and the way from Redis takes time. A difference
of `NOTABLE_CHANGE` of its age is accepted too.
"""

TIME = "%Y-%m-%dT%H:%M:%SZ"

MOST_CHARACTERS = 1_000
"""Of a message, which an event repeats. Redis, the API server and a template may say more than a status can hold."""


def status_of(
    resource: Resource,
    workload: Workload | None,
    seen: Observation,
    decision: Decision,
    *,
    before: Manifest,
    read_at: str,
    now: str,
    problems: Sequence[Problem] = (),
    other_conditions: Sequence[Condition] = (),
    pin: Mapping[str, Any] | None = None,
) -> Manifest:
    """
    The status after a decision, beginning from the one *before*. *problems* are those of the worker pods;
    *other_conditions* do not follow from the observation and the decision. *pin*: the number that a person set.
    """
    before = {key: value for key, value in before.items() if key != "pin"} | ({"pin": pin} if pin else {})
    desired = seen.replicas if decision.replicas is None else decision.replicas
    available = _available(desired, workload, problems, by_type(before).get(AVAILABLE, {}))
    is_failing = available.status == "False" and available.reason != ROLLING_OUT
    holder = _holder(decision, resource, other_conditions)
    is_held_down = holder is not None and (decision.wish or 0) > desired
    ready = workload.ready if workload else 0
    workers = Readiness(ready, desired, is_failing, holder.phrase if holder and is_held_down else "")
    policy = resource.policy.fitted(decision.history.start_time.seconds)
    conditions = [
        *_decision_conditions(decision, resource, available, holder),
        available,
        *other_conditions,
        *_lanes(seen, resource, workload, decision),
        *thread_conditions(seen, policy, by_type(before), now, workers),
        *_deprecated(resource, before),
    ]
    return {
        **(_with_queue(before, resource, seen, decision, read_at) if seen.shards else before),
        **_replica_fields(desired, workload),
        "recommendedReplicas": decision.recommendation,
        "observedGeneration": resource.generation,
        "reason": decision.reason,
        "message": short(decision.message),
        "conditions": _merged_conditions(before, conditions, resource.generation, now),
    }


def refused_status(body: Manifest, reason: str, message: str, now: str) -> Manifest:
    """The status of a resource that cannot be served. What was known of it stays."""
    before: Manifest = body.get("status") or {}
    generation = body["metadata"].get("generation", 0)
    conditions = _merged_conditions(before, [Condition(READY, "False", reason, message)], generation, now)
    after = {"observedGeneration": generation, "reason": reason, "message": short(message), "conditions": conditions}
    return {**before, **after}


def short(message: str) -> str:
    """One line that a terminal and a log can show, because messages quote names, templates and answers of servers."""
    message = printable(message)
    return message if len(message) <= MOST_CHARACTERS else f"{message[: MOST_CHARACTERS - 2]} …"


# Parts of a status


def _replica_fields(desired: int, workload: Workload | None) -> Manifest:
    return {
        "desiredReplicas": desired,
        "replicas": workload.existing if workload else 0,
        "readyReplicas": workload.ready if workload else 0,
        "selector": workload.selector if workload else "",
    }


def _with_queue(before: Manifest, resource: Resource, seen: Observation, decision: Decision, read_at: str) -> Manifest:
    """The status before with what was read of the queue, whose oldest request may be gone."""
    handlers = {handler["name"]: handler for handler in before.get("handlers") or []}
    kept = {key: value for key, value in before.items() if key != "oldestRequestTime"}
    return {
        **kept,
        "depth": seen.depth,
        "threads": {"total": seen.threads, "ready": seen.ready, "bound": seen.bound, "blocked": seen.blocked},
        "handlers": [_handler_status(h, seen, decision, handlers.get(h.name, {})) for h in resource.spec.handlers],
        **_oldest_request(seen, before, read_at),
    }


def _oldest_request(seen: Observation, before: Manifest, read_at: str) -> Manifest:
    """A time and not an age, which would have to be written again and again for a queue that stands still."""
    if not seen.lag_seconds:
        return {}
    since = (datetime.fromisoformat(read_at) - timedelta(seconds=seen.lag_seconds)).strftime(TIME)
    reported = before.get("oldestRequestTime", since)
    is_same = abs(seconds_between(reported, since)) <= max(SAME_SECONDS, NOTABLE_CHANGE * seen.lag_seconds)
    return {"oldestRequestTime": reported if is_same else since}


def _handler_status(handler: Handler, seen: Observation, decision: Decision, before: Mapping[str, Any]) -> Manifest:
    """What the operator learned of a handler; a new operator process resumes from it."""
    entry: Manifest = {"name": handler.name}
    # A marker that vanished stays in the history, and so in the status: a new operator must know of the loss too.
    counters = [decision.history.counters.get(s.shard) for s in seen.shards if s.shard.handler == handler.name]
    if counters:
        entry["born"] = [(each and each.born) or 0 for each in counters]
    if service_time := decision.history.service_times.get(handler.name):
        old, new = before.get("microsecondsPerRequest", 0) / 1e6, service_time.seconds
        seconds = new if abs(new - old) > LEARNED_CHANGE * old else old
        entry["microsecondsPerRequest"] = max(1, round(float(f"{seconds:.2g}") * 1e6))
    return entry


# Conditions


def _available(
    desired: int, workload: Workload | None, problems: Sequence[Problem], before: Mapping[str, Any]
) -> Condition:
    """Whether the desired workers run or are starting, all of the newest release."""
    if not desired:
        return _none_desired(workload.revision if workload else "", before)
    ready, of_workload = (workload.ready, workload.problem) if workload else (0, None)
    problem = worst([*problems, *([of_workload] if of_workload else [])])
    is_rolling_out = workload is not None and workload.is_rolling_out
    if ready >= desired and not is_rolling_out:
        return _all_ready(workload.revision if workload else "")
    count = f"{ready} of {counted(desired, 'worker')} ready"
    if problem:
        return Condition(AVAILABLE, "False", problem.reason, f"{count}: {problem.message}")
    if workload and is_rolling_out:
        return Condition(AVAILABLE, "False", ROLLING_OUT, f"{count}; {workload.updated} of the newest release exist")
    return Condition(AVAILABLE, "True", "Starting", count)


def _all_ready(revision: str) -> Condition:
    return Condition(AVAILABLE, "True", "AllReady", f"all desired workers are ready, of revision {revision or 'one'}")


def _none_desired(revision: str, before: Mapping[str, Any]) -> Condition:
    """The condition before tells whether this revision has run: only one that ran can be trusted to start again."""
    idle = Condition(AVAILABLE, "True", "NoneDesired", f"no worker is desired; revision {revision or 'one'} has run")
    if before.get("message") in {_all_ready(revision).message, idle.message}:
        return idle
    message = "no worker is desired, and this release was not started yet: the first request starts it"
    return Condition(AVAILABLE, "True", NOT_STARTED, message)


class Holder(NamedTuple):
    """Who else than the operator decides on the number of workers: a word, and a phrase for people."""

    reason: str
    phrase: str
    is_ordered: bool = True
    """Whether the author of the resource asked for it."""


def _holder(decision: Decision, resource: Resource, other_conditions: Sequence[Condition]) -> Holder | None:
    policy = resource.policy
    if decision.reason == "Suspended":
        return Holder("Suspended", "spec.suspend is set")
    if any(each.type == CONTESTED and each.status == "True" for each in other_conditions):
        return Holder(CONTESTED, "another writer holds the number of workers, as the condition Contested says", False)
    if decision.reason == "Pinned":
        return Holder("Pinned", "spec.replicas pins the number of workers")
    if policy.is_recommending:
        return Holder("Recommending", "scaling.mode is Recommend, so the operator changes no number")
    if not (policy.may_rise and policy.may_fall):
        return Holder("Paused", f"the annotation {PAUSE} holds the number of workers")
    return None


def _decision_conditions(
    decision: Decision, resource: Resource, available: Condition, holder: Holder | None
) -> list[Condition]:
    """`Ready`, `QueueKnown` and `ScalingLimited`."""
    if doubt := decision.doubt:
        known = Condition(QUEUE_KNOWN, "False", doubt.reason, doubt.message)
        ready = known._replace(type=READY)
    else:
        known = Condition(QUEUE_KNOWN, "True", "Read", "Redis answers for all handlers")
        ready = available._replace(type=READY) if available.status == "False" else _ready(holder)
    return [ready, known, _scaling_limited(decision, resource)]


def _ready(holder: Holder | None) -> Condition:
    if holder is None:
        return Condition(READY, "True", "Scaling", "the workers follow the queue")
    return Condition(READY, "True" if holder.is_ordered else "False", holder.reason, holder.phrase)


def _scaling_limited(decision: Decision, resource: Resource) -> Condition:
    policy = resource.policy
    if decision.lanes > policy.lanes:
        message = f"the requests would keep more than {policy.max_replicas} workers busy"
        return Condition(SCALING_LIMITED, "True", "TooFewReplicas", message)
    return Condition(SCALING_LIMITED, "False", "WithinBounds", "maxReplicas is not reached")


def _deprecated(resource: Resource, before: Manifest) -> list[Condition]:
    """Fields in use that a later version will not have."""
    old = [handler.name for handler in resource.spec.handlers if handler.seconds_per_request is not None]
    if old:
        message = f"secondsPerRequest of {', '.join(old)}: set microsecondsPerRequest, a million times as much, instead"
        return [Condition(DEPRECATED, "True", "FieldRenamed", message)]
    if DEPRECATED in by_type(before):
        return [Condition(DEPRECATED, "False", "NoneInUse", "no field in use is deprecated")]
    return []


def _lanes(seen: Observation, resource: Resource, workload: Workload | None, decision: Decision) -> list[Condition]:
    """None while the queue is unknown: the condition before stays."""
    if not seen.shards or seen.doubt:
        return []
    times = decision.history.lane_times
    stalls = {handler: each.stall for handler, each in times.items() if each.stall}
    is_rolling = workload is None or workload.is_rolling_out
    return [lanes_condition(seen, resource.policy, stalls, is_rolling=is_rolling)]


def _merged_conditions(before: Manifest, conditions: Sequence[Condition], generation: int, now: str) -> list[Manifest]:
    """*conditions* over those of the status before, each with the time of its last change."""
    merged = dict(by_type(before))
    for condition in conditions:
        old = merged.get(condition.type, {})
        since = old["lastTransitionTime"] if old.get("status") == condition.status else now
        merged[condition.type] = {
            **condition._asdict(),
            "message": short(condition.message),
            "observedGeneration": generation,
            "lastTransitionTime": since,
        }
    return list(merged.values())


# Changes


def patch(before: Manifest, after: Manifest) -> Manifest:
    """The fields that differ; None removes one."""
    gone = {key: None for key in before if key not in after}
    return gone | {key: value for key, value in after.items() if before.get(key) != value}


def is_urgent(before: Manifest, after: Manifest) -> bool:
    """Whether the change is to be written at once."""
    is_immediate = any(before.get(field) != after.get(field) for field in IMMEDIATE_FIELDS)
    return is_immediate or _without_messages(before) != _without_messages(after)


def is_worth_writing(before: Manifest, after: Manifest, now: str) -> bool:
    """Whether a change that is not urgent is to be written soon."""
    if any(before.get(field) != after.get(field) for field in ("handlers", "conditions")):
        return True
    numbers = [(status.get("depth", 0), _lag(status, now)) for status in (before, after)]
    return any(abs(new - old) > NOTABLE_CHANGE * old for old, new in zip(*numbers, strict=True))


def is_emptied_or_filled(before: Manifest, after: Manifest) -> bool:
    return bool(before.get("depth")) != bool(after.get("depth"))


def _without_messages(status: Manifest) -> list[Any]:
    """The conditions without their messages, which may follow the queue."""
    return [{**each, "message": None} for each in status.get("conditions") or []]


def _lag(status: Manifest, now: str) -> float:
    """The lag in seconds that *status* implies at *now*."""
    return seconds_between(status["oldestRequestTime"], now) if "oldestRequestTime" in status else 0.0
