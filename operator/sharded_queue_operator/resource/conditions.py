"""
Conditions of a status, and those that name a thread for a person to look at although the operator does all it can:
`HotThreads`, which workers never drain, and `Starving`, which no worker has time for. Pure.

A queue changes by the second, and conditions must not. So a condition that became False, which is reported at once,
stays so for a minute, and one that became True keeps naming the same thread for as long as that is true.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Any, Literal, NamedTuple

from sharded_queue.printable import counted
from sharded_queue.state import ShardState
from sharded_queue_operator.scaling.demand import waiting_threads
from sharded_queue_operator.scaling.lane_times import Stall
from sharded_queue_operator.scaling.observation import Observation
from sharded_queue_operator.scaling.policy import Policy

READY, QUEUE_KNOWN, AVAILABLE = "Ready", "QueueKnown", "WorkersAvailable"
SCALING_LIMITED = "ScalingLimited"
HOT_THREADS, STARVING = "HotThreads", "Starving"
SHARED_HANDLERS, CONTESTED = "SharedHandlers", "Contested"
LANES_MISMATCH = "LanesMismatch"
NOT_STARTED = "NotStarted"
ROLLING_OUT = "RollingOut"
"""Another release is on its way, and nothing is known to keep it from running."""
SCALE_DOWN_WAITS, OUTDATED, PINNED = "ScaleDownWaits", "Outdated", "Pinned"
DEPRECATED = "Deprecated"
"""The spec has a field that a later version will not have. Absent from the status of a resource that never had one."""

STOPPED = "Stopped"
"""The reason of `Outdated` when a person has to do something about it."""

NORMAL_TRUE = (READY, QUEUE_KNOWN, AVAILABLE)
"""Conditions that are True when all is well."""

ABNORMAL_TRUE = (HOT_THREADS, STARVING, SHARED_HANDLERS, CONTESTED, DEPRECATED, LANES_MISMATCH)
"""Conditions that are False when all is well; each one that becomes True is an event."""

INFORMING = (PINNED, SCALE_DOWN_WAITS, OUTDATED)
"""Conditions that are as they should be either way: somebody wants it so, or it ends by itself."""

ENDED = "NoLonger"
"""The reason of a condition that was True a short while ago."""

COOLDOWN_SECONDS = 60.0
"""From when a condition became False until it may be True again: a thread that comes and goes causes few writes."""

STARVING_ENDS_AT = 0.5
"""The part of the drain time that waiting threads must fall below before `Starving` ends."""

Conditions = Mapping[str, Mapping[str, Any]]
"""The conditions of a status, by type."""


class Condition(NamedTuple):
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


class Readiness(NamedTuple):
    """
    Ready workers, of the desired ones; *is_failing*: something keeps the others from running. *holder*: what keeps the
    operator from asking for more, as in "while spec.suspend is set".
    """

    ready: int
    desired: int
    is_failing: bool = False
    holder: str = ""


def by_type(status: Mapping[str, Any]) -> dict[str, Any]:
    return {condition["type"]: condition for condition in status.get("conditions") or []}


def condition(status: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
    """One condition of a status; empty if there is none of this type."""
    found: Mapping[str, Any] = by_type(status).get(type_, {})
    return found


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def thread_conditions(
    seen: Observation, policy: Policy, before: Conditions, now: str, workers: Readiness
) -> list[Condition]:
    """`HotThreads` and `Starving`. None while the queue is unknown: those of the status before stay."""
    if not seen.shards or seen.doubt:
        return []
    seconds = f"{policy.drain:.0f} s"
    calm = Condition(
        HOT_THREADS, "False", "NoneHeldForLong", f"no thread has kept a worker busy for {seconds} without a break"
    )
    hot = _hot_threads(seen, policy)
    served = Condition(STARVING, "False", "NoneWaitsForLong", f"no thread has waited {seconds} for a worker")
    starving = _starving_threads(seen, policy, before, workers)
    cause = "NumberHeld" if workers.holder else "AtMaximum" if workers.ready >= policy.max_replicas else "TooFewReady"
    return [
        _next(before.get(HOT_THREADS, {}), hot, "HeldForLong", calm, now),
        _next(before.get(STARVING, {}), starving, cause, served, now),
    ]


def lanes_condition(seen: Observation, policy: Policy, stalls: Mapping[str, Stall], *, is_rolling: bool) -> Condition:
    """
    Whether workers have as many lanes as the operator counts on, and all progress. *stalls*: by handler. *is_rolling*:
    workers of another revision, which may have had another number, are on their way out.
    """
    asked, told = policy.threads_per_replica, sorted(seen.concurrencies)
    if told and asked not in told and not is_rolling:
        message = (
            f"workers hold {_or(told)} threads at a time (QUEUE_WORKER_CONCURRENCY), and"
            f" spec.scaling.threadsPerReplica is {asked}: set it to {told[-1]}, or the concurrency to {asked}"
        )
        return Condition(LANES_MISMATCH, "True", "ConcurrencyDiffers", message)
    for handler, stall in sorted(stalls.items()):
        if stall.useful < asked:
            message = (
                f"a request of {handler} takes {stall.seconds:.2g} s with {stall.busy} lanes of a worker busy, and"
                f" {stall.alone_seconds:.2g} s with one, so the lanes hold each other up; if the handler computes, set"
                f" spec.scaling.threadsPerReplica to {stall.useful}, and maxReplicas to as many workers as you want"
            )
            return Condition(LANES_MISMATCH, "True", "LanesStall", message)
    return Condition(LANES_MISMATCH, "False", "LanesProgress", "no lane is known that a worker has not, or that stalls")


def _or(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))


def seconds_until_change(seen: Observation, policy: Policy, before: Conditions, now: str) -> float:
    """When `Starving` may become True although nothing happens; inf for never. `HotThreads` takes a held thread."""
    lags = [lag for state in seen.shards if state.ready for lag in waiting_threads(state, 0).values()]
    waits = [policy.drain - lag for lag in lags]
    if lags and (starving := before.get(STARVING, {})).get("reason") == ENDED:
        waits.append(COOLDOWN_SECONDS - seconds_between(starving["lastTransitionTime"], now))
    return min((seconds for seconds in waits if seconds > 0), default=inf)


def _next(before: Mapping[str, Any], messages: Sequence[str], reason: str, calm: Condition, now: str) -> Condition:
    """
    The condition after *before*: True with one of *messages*, or False as in *calm*.

    *messages* are what is true now, the worst first. The one reported before is kept for as long as it is among them.
    """
    was_true, has_ended = before.get("status") == "True", before.get("reason") == ENDED
    if has_ended and (not messages or seconds_between(before["lastTransitionTime"], now) < COOLDOWN_SECONDS):
        return calm._replace(reason=ENDED, message=before["message"])
    if not messages:
        return calm._replace(reason=ENDED) if was_true else calm
    message = before["message"] if was_true and before["message"] in messages else messages[0]
    return Condition(calm.type, "True", reason, message)


def _hot_threads(seen: Observation, policy: Policy) -> list[str]:
    """A message for each thread held for the drain time without being drained, the longest held first."""
    held = [(hold.busy_seconds, hold.thread, state.shard.handler) for state in seen.shards for hold in state.held]
    return [
        f"thread {thread} of {handler} has kept a worker busy for {policy.drain:.0f} s without a break;"
        " more workers do not help"
        for busy_seconds, thread, handler in sorted(held, reverse=True)
        if busy_seconds >= policy.drain
    ]


def _starving_threads(seen: Observation, policy: Policy, before: Conditions, workers: Readiness) -> list[str]:
    """
    A message for each thread that has waited for the drain time although the maximum of workers was asked for, or
    because something keeps workers from running, or somebody else holds their number. The longest waiting first.
    """
    is_at_maximum = seen.replicas >= policy.max_replicas
    if not is_at_maximum and not workers.is_failing and not workers.holder:
        return []
    was_starving = before.get(STARVING, {}).get("status") == "True"
    seconds = policy.drain * (STARVING_ENDS_AT if was_starving else 1)
    waiting = sorted((found for state in seen.shards for found in _waiting_in(state, seconds)), reverse=True)
    most = policy.max_replicas if is_at_maximum else workers.desired
    if workers.holder:
        cause = f"while {workers.holder}"
    elif workers.ready < most:
        cause = f"with {workers.ready} of {counted(most, 'worker')} ready"
    else:
        cause = f"and maxReplicas allows {counted(most, 'worker')}"
    return [f"{thread} has waited for {policy.drain:.0f} s, {cause}" for _, thread in waiting]


def _waiting_in(state: ShardState, seconds: float) -> list[tuple[float, str]]:
    """The lag and the name of each thread that has waited for a worker for *seconds*."""
    if state.is_paused or not state.ready:
        return []
    return [
        (lag, f"thread {thread} of {state.shard.handler}") for thread, lag in waiting_threads(state, seconds).items()
    ]
