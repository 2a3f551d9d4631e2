"""
A number of workers that a person set, by `kubectl scale` or `spec.replicas`: the status tells of it while it holds, and
it ends when its time is over. Pure.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from sharded_queue.printable import counted
from sharded_queue_operator.resource.conditions import Condition, Conditions, age
from sharded_queue_operator.scaling.policy import Policy

PINNED = "Pinned"
EXPIRED = "Expired"


class Pin(NamedTuple):
    """What a resource says about its pin, and the policy that follows from it."""

    condition: Condition
    policy: Policy


def pin(policy: Policy, seconds: int | None, before: Conditions, now: str) -> Pin:
    """*seconds*: after which a pin ends, counted from when it was first told of; None for never."""
    if policy.pinned is None:
        return Pin(Condition(PINNED, "False", "NotPinned", "the operator chooses the number of workers"), policy)
    number, was = counted(policy.pinned, "worker"), before.get(PINNED, {})
    if seconds is None:
        message = f"spec.replicas pins {number} until it is removed"
        return Pin(Condition(PINNED, "True", "ReplicasSet", message), policy)
    ended = f"the pin of {number} ended after {seconds} s; remove spec.replicas before you pin again"
    if is_ended(was, ended, seconds, now):
        return Pin(Condition(PINNED, "False", EXPIRED, ended), replace(policy, pinned=None))
    return Pin(Condition(PINNED, "True", "ReplicasSet", f"spec.replicas pins {number} for {seconds} s"), policy)


def is_ended(was: Mapping[str, Any], ended: str, seconds: int, now: str) -> bool:
    """Once ended, the same pin stays ended: only its sentence tells it from another one."""
    if was.get("reason") == EXPIRED:
        return bool(was["message"] == ended)
    return was.get("status") == "True" and age(was["lastTransitionTime"], now) >= seconds
