"""
A number of workers that a person set, by `kubectl scale` or `spec.replicas`. Pure.

The status reports the pin while it holds. It ends after `spec.pinSeconds`, if that is set, counted for each number from
the moment at which the operator saw it. The operator then removes `spec.replicas`: the same number set again is a pin
of its own.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any, NamedTuple

from sharded_queue.printable import counted
from sharded_queue_operator.resource.conditions import PINNED, Condition, condition, seconds_between
from sharded_queue_operator.scaling.policy import Policy

EXPIRED = "Expired"


class Pin(NamedTuple):
    """
    The condition that reports a pin, the policy that follows from it, and what the status keeps of it: the number, and
    since when it is set. *seconds_left*: until time alone ends the pin.
    """

    condition: Condition
    policy: Policy
    record: Mapping[str, Any] | None = None
    seconds_left: float = inf

    @property
    def is_over(self) -> bool:
        """Whether its time has passed, though the number is still set."""
        return self.condition.reason == EXPIRED


def pin(policy: Policy, seconds: int | None, before: Mapping[str, Any], now: str) -> Pin:
    """*seconds*: from the first report of a number until its end; None for never. *before*: the status before."""
    if policy.pinned is None:
        return Pin(Condition(PINNED, "False", "NotPinned", "the operator chooses the number of workers"), policy)
    number = counted(policy.pinned, "worker")
    since = _since(policy.pinned, before, now)
    record = {"replicas": policy.pinned, "since": since}
    if seconds is None:
        message = f"spec.replicas pins {number} until it is removed"
        return Pin(Condition(PINNED, "True", "ReplicasSet", message), policy, record)
    seconds_left = seconds - seconds_between(since, now)
    if seconds_left <= 0:
        message = f"the pin of {number} ended after {seconds} s"
        return Pin(Condition(PINNED, "False", EXPIRED, message), replace(policy, pinned=None), record, 0)
    message = f"spec.replicas pins {number} for {seconds} s"
    return Pin(Condition(PINNED, "True", "ReplicasSet", message), policy, record, seconds_left)


def _since(number: int, before: Mapping[str, Any], now: str) -> str:
    """An earlier operator, or an older CRD, kept no record: its condition says since when, and of which number."""
    record, was = before.get("pin"), condition(before, PINNED)
    if record:
        return str(record["since"]) if record["replicas"] == number else now
    is_same = was.get("status") == "True" and f" pins {counted(number, 'worker')} " in was.get("message", "")
    return str(was["lastTransitionTime"]) if is_same else now
