"""
What a person should look at although the operator does all it can: threads that no worker has time for, and threads
that never let go of theirs. Pure.

A queue changes by the second, and conditions must not: one that ended, which is said at once, comes back after a minute
at the earliest, and one that came goes on naming the thread it named for as long as that is true.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sharded_queue.printable import counted
from sharded_queue.state import ShardState
from sharded_queue_operator.scaling.demand import waiting_threads
from sharded_queue_operator.scaling.observation import Observation
from sharded_queue_operator.scaling.policy import Policy

LEAST_SECONDS = 60.0
"""From the end of a concern until it may come again: a thread that goes and comes does not write all the time."""


class Condition(NamedTuple):
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


class Running(NamedTuple):
    """Workers that are ready, of those that were asked for; *is_kept*: something keeps the others from running."""

    ready: int
    desired: int
    is_kept: bool = False


HOT, STARVING = "HotThreads", "Starving"
OVER = "NoLonger"
"""Reason of a concern that has ended; it may come back when `LEAST_SECONDS` have passed."""
SHARED, CONTESTED = "SharedHandlers", "Contested"
CONCERNS = (HOT, STARVING, SHARED, CONTESTED)
"""Conditions that are well while they are false; a person hears of each that becomes true."""

Conditions = Mapping[str, Mapping[str, Any]]
"""Those of a status, by their type."""


def concerns(seen: Observation, policy: Policy, before: Conditions, now: str, running: Running) -> list[Condition]:
    """Nothing when the queue is not known: what was told stays."""
    if not seen.shards or seen.doubt:
        return []
    limit = f"{policy.drain_seconds:.0f} s"
    cold = Condition(HOT, "False", "NoneHeldForLong", f"no thread has kept a worker busy for {limit} without a break")
    served = Condition(STARVING, "False", "NoneWaitsForLong", f"no thread waits for {limit} for want of a worker")
    reason = "AtMaximum" if running.ready >= policy.max_replicas else "TooFewReady"
    return [
        stated(HOT, "HeldForLong", hot(seen, policy), cold, before.get(HOT, {}), now),
        stated(STARVING, reason, starving(seen, policy, before, running), served, before.get(STARVING, {}), now),
    ]


def stated(
    type_: str, reason: str, sentences: Iterable[str], otherwise: Condition, before: Mapping[str, Any], now: str
) -> Condition:
    """The sentence that was told already, if it is still true; else the worst one, which comes first."""
    true = list(sentences)
    was_true = before.get("status") == "True"
    is_over = before.get("reason") == OVER
    if is_over and (not true or age(before["lastTransitionTime"], now) < LEAST_SECONDS):
        return Condition(type_, "False", OVER, before["message"])
    if true:
        return Condition(
            type_, "True", reason, before["message"] if was_true and before["message"] in true else true[0]
        )
    return otherwise._replace(reason=OVER) if was_true else otherwise


def hot(seen: Observation, policy: Policy) -> list[str]:
    """A sentence for each thread that was held for the drain time without being emptied, the longest held first."""
    held = [(hold.busy_seconds, hold.thread, state.shard.handler) for state in seen.shards for hold in state.held]
    return [
        f"thread {thread} of {handler} has kept a worker busy for {policy.drain_seconds:.0f} s without a break;"
        " more workers do not help it"
        for busy_seconds, thread, handler in sorted(held, reverse=True)
        if busy_seconds >= policy.drain_seconds
    ]


def starving(seen: Observation, policy: Policy, before: Conditions, running: Running) -> list[str]:
    """
    A sentence for each thread that waited for the drain time while no more workers could be asked for, or those that
    were could not run.
    """
    is_at_maximum = seen.replicas >= policy.max_replicas
    if not is_at_maximum and not running.is_kept:
        return []
    was_starving = before.get(STARVING, {}).get("status") == "True"
    patience = policy.drain_seconds / (2 if was_starving else 1)
    end = f"for {policy.drain_seconds:.0f} s, "
    most = policy.max_replicas if is_at_maximum else running.desired
    if running.ready < most:
        end += f"with {running.ready} of {counted(most, 'worker')} ready"
    else:
        end += f"and there can be no more than {counted(policy.max_replicas, 'worker')}"
    found = sorted(((lag, who) for state in seen.shards for lag, who in waiting(state, patience)), reverse=True)
    return [f"{who} waited {end}" for _, who in found]


def waiting(state: ShardState, patience: float) -> list[tuple[float, str]]:
    """
    The lag and the name of what waits for a worker for so long; beside threads that are blocked or parked, nobody is
    named.
    """
    old = waiting_threads(state, patience)
    withheld = state.blocked + state.parked
    if state.is_paused or not state.ready or len(old) <= withheld:
        return []
    if withheld:
        return [(min(old.values()), f"a thread of {state.shard.handler}")]
    return [(lag, f"thread {thread} of {state.shard.handler}") for thread, lag in old.items()]


def age(since: str, now: str) -> float:
    return (datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds()
