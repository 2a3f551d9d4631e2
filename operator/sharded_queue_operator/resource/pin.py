"""
A number of workers that a person set, by `kubectl scale` or `spec.replicas`. Pure.

The status reports the pin while it holds. It ends after `spec.pinSeconds`, if that is set.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from sharded_queue.printable import counted
from sharded_queue_operator.resource.conditions import Condition, Conditions, seconds_between
from sharded_queue_operator.scaling.policy import Policy

PINNED = "Pinned"
EXPIRED = "Expired"


class Pin(NamedTuple):
    """The condition that reports a pin, and the policy that follows from it."""

    condition: Condition
    policy: Policy


def pin(policy: Policy, seconds: int | None, before: Conditions, now: str) -> Pin:
    """*seconds*: from the first report of a pin until it ends; None for never."""
    if policy.pinned is None:
        return Pin(Condition(PINNED, "False", "NotPinned", "the operator chooses the number of workers"), policy)
    number, was = counted(policy.pinned, "worker"), before.get(PINNED, {})
    if seconds is None:
        message = f"spec.replicas pins {number} until it is removed"
        return Pin(Condition(PINNED, "True", "ReplicasSet", message), policy)
    ended_message = f"the pin of {number} ended after {seconds} s; remove spec.replicas before you pin again"
    if _is_ended(was, ended_message, seconds, now):
        return Pin(Condition(PINNED, "False", EXPIRED, ended_message), replace(policy, pinned=None))
    return Pin(Condition(PINNED, "True", "ReplicasSet", f"spec.replicas pins {number} for {seconds} s"), policy)


def _is_ended(was: Mapping[str, Any], ended_message: str, seconds: int, now: str) -> bool:
    """Once ended, a pin stays ended. Its message tells it from a later one."""
    if was.get("reason") == EXPIRED:
        return bool(was["message"] == ended_message)
    return was.get("status") == "True" and seconds_between(was["lastTransitionTime"], now) >= seconds
