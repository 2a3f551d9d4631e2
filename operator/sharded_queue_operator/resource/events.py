"""The events that follow from a change of a status. Pure."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from sharded_queue_operator.resource.conditions import ABNORMAL_TRUE, ROLLING_OUT, condition
from sharded_queue_operator.resource.deployment import Manifest
from sharded_queue_operator.scaling.decide import Decision


class Event(NamedTuple):
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def events_of(before: Manifest, after: Manifest) -> list[Event]:
    """One for each change from *before* to *after* that a person should know."""
    warnings = [Event("Warning", type_, condition(after, type_)["message"]) for type_ in _newly_true(before, after)]
    return _of_redis(before, after) + _of_readiness(before, after) + warnings


def scaled_event(decision: Decision, before: int) -> Event:
    assert decision.replicas is not None
    direction = "ScaledUp" if decision.replicas > before else "ScaledDown"
    return Event("Normal", direction, f"from {before} to {decision.replicas}: {decision.message}")


def _of_redis(before: Manifest, after: Manifest) -> list[Event]:
    was, now = condition(before, "QueueKnown"), condition(after, "QueueKnown")
    if now.get("status") == "False" and _status_and_reason(was) != _status_and_reason(now):
        return [Event("Warning", now["reason"], now["message"])]
    if now.get("status") == "True" and was.get("status") == "False":
        return [Event("Normal", "RedisFound", f"{now['message']} again")]
    return []


def _of_readiness(before: Manifest, after: Manifest) -> list[Event]:
    """A resource that is not ready. Redis has its own event, and a release on its way is no news."""
    was, now = condition(before, "Ready"), condition(after, "Ready")
    is_new = now.get("status") == "False" and _status_and_reason(was) != _status_and_reason(now)
    if is_new and now["reason"] not in (ROLLING_OUT, condition(after, "QueueKnown").get("reason")):
        return [Event("Warning", now["reason"], now["message"])]
    return []


def _newly_true(before: Manifest, after: Manifest) -> list[str]:
    return [
        type_
        for type_ in ABNORMAL_TRUE
        if condition(after, type_).get("status") == "True" and condition(before, type_).get("status") != "True"
    ]


def _status_and_reason(condition: Mapping[str, Any]) -> tuple[Any, Any]:
    return condition.get("status"), condition.get("reason")
