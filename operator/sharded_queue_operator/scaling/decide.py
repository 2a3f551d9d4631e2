"""
How many workers: a pure function of what was seen, what is wanted, what was seen before, and the time.

Requests of one thread are handled by one worker, so workers are counted in *lanes*, not in requests. With s seconds per
request, D the wanted drain time and b the cost of a bind, thread t takes the part c(t) of a lane:

    c(t) = 1                               if t is endless
           min(1, (s · depth(t) + b) / D)  otherwise

    wish = clamp(ceil(Σ c(t) / threads per replica), minimum, min(maximum, ceil(threads / threads per replica)))

A thread is endless when a worker has held it for D without emptying it, or for twice what it asked for when it was
first seen in that worker's hands: it is fed while it is worked on. Once a thread has waited for D, what was promised to
it is broken, and those in hands tell why: each endless one stands for one that waits, which asks for a lane as well.

Replicas rise to the wish at once and in one step. They fall to the highest wish of a window that is at least D, and
only after several known reads in a row; never below the workers that hold threads with requests, but to as many as can
hold all of these, where one can hold several: the others hand theirs over between batches. What is unknown is not zero:
it counts as a wish for what runs, and can only raise.
"""

from dataclasses import dataclass, replace
from math import ceil

from sharded_queue.printable import counted
from sharded_queue_operator.scaling.demand import lanes_of, wish_of
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.observation import Doubt, Observation
from sharded_queue_operator.scaling.policy import Policy

FRESH_READS = 3
"""Replicas fall only after so many known reads in a row: two may come from one stale answer and its repetition."""


@dataclass(frozen=True, slots=True)
class Decision:
    """
    *replicas* to set, None to leave them as they are. *wish* is what the queue alone asks for at this moment, None when
    nothing of it is known. *reason* is a word for machines, *message* a sentence for people.
    """

    replicas: int | None
    reason: str
    message: str
    history: History
    wish: int | None = None
    lanes: float = 0.0
    doubt: Doubt | None = None


def decide(seen: Observation, policy: Policy, history: History, now: float) -> Decision:
    doubt = doubted(seen, policy, history, now)
    known = replace(seen, shards=()) if seen.read_at < now - policy.stale_seconds else seen
    learned = history.learned(known.shards).spanned(known.shards, policy)
    lanes = sum(
        lanes_of(state, learned.seconds(state.shard.handler, policy), policy, learned.spans) for state in known.shards
    )
    wish = wish_of(lanes, known.useful_lanes, policy)
    decision = (
        held(known, policy, learned, now, wish, doubt=doubt) if doubt else followed(known, policy, learned, now, wish)
    )
    stated = replace(decision, lanes=lanes, doubt=doubt, wish=wish if known.shards else None)
    return restricted(ordered(stated, policy), seen, policy)


def doubted(seen: Observation, policy: Policy, history: History, now: float) -> Doubt | None:
    if seen.doubt:
        return seen.doubt
    if seen.read_at < now - policy.stale_seconds:
        age = f"{now - seen.read_at:.0f} s ago" if seen.shards else "never"
        return Doubt("StaleObservation", f"the queue was last read {age}")
    if wiped := sorted({state.shard.handler for state in seen.shards if history.is_wiped(state)}):
        return Doubt("DataLost", f"Redis lost the data of {', '.join(wiped)}, or is another one")
    return None


def held(seen: Observation, policy: Policy, history: History, now: float, wish: int, *, doubt: Doubt) -> Decision:
    """What is unknown asks for what runs: replicas rise to the fallback or to what is known, and do not fall."""
    replicas = policy.bounded(max(seen.replicas, policy.fallback_replicas, wish))
    after = replace(history.wished(replicas, policy, now), reads=0)
    if replicas == seen.replicas:
        return Decision(None, doubt.reason, f"{doubt.message}; {workers(seen.replicas)} stay", after)
    return Decision(replicas, doubt.reason, f"{doubt.message}; {workers(replicas)} instead of {seen.replicas}", after)


def followed(seen: Observation, policy: Policy, history: History, now: float, wish: int) -> Decision:
    """Up at once; down with the window, but not below the workers that hold threads."""
    # A first read knows nothing of the window before it: what runs was wished for by somebody.
    before = history if history.wishes else history.wished(policy.bounded(seen.replicas), policy, now)
    after = replace(before.wished(wish, policy, now), reads=history.reads + 1)
    need = f"{counted(seen.depth, 'request')} in {counted(seen.threads, 'thread')}{pauses(seen)}"
    if wish > seen.replicas:
        return Decision(wish, "ScaledUp", f"{need} ask for {workers(wish)}, there are {seen.replicas}", after)
    if wish == seen.replicas:
        return Decision(None, "AsWished", f"{need} ask for {workers(wish)}", after)
    return lowered(seen, policy, after, need, wish)


def pauses(seen: Observation) -> str:
    """Why requests ask for no worker, where a person has paused their handlers."""
    paused = sorted({state.shard.handler for state in seen.shards if state.is_paused})
    if len(paused) <= 1:
        return f" ({paused[0]} is paused)" if paused else ""
    return f" ({len(paused)} handlers are paused)"


def lowered(seen: Observation, policy: Policy, history: History, need: str, wish: int) -> Decision:
    asked = f"{need} ask for {workers(wish)}"
    if seen.replicas > policy.max_replicas:
        return Decision(policy.max_replicas, "AboveMaximum", f"at most {workers(policy.max_replicas)} allowed", history)
    if history.reads < FRESH_READS:
        return Decision(
            None, "FewReads", f"{asked}; {seen.replicas} stay until that was read {FRESH_READS} times", history
        )
    window, holders = policy.bounded(history.highest), policy.bounded(min(seen.replicas, holding(seen, policy)))
    replicas = max(window, holders)
    if replicas < seen.replicas:
        return Decision(replicas, "ScaledDown", f"{asked}, for {policy.window:.0f} s no more than {replicas}", history)
    if window < seen.replicas:
        return Decision(None, "BusyWorkers", f"{asked}; {seen.replicas} stay, as {holders} hold threads", history)
    return Decision(None, "WithinWindow", f"{asked}; {seen.replicas} stay for {policy.window:.0f} s", history)


def holding(seen: Observation, policy: Policy) -> int:
    """
    The workers that it takes to hold what is held: those that do, or fewer where each has room for more. Each hold that
    is not listed may be another worker's.
    """
    loads, unlisted = seen.loads, seen.unlisted_holds
    return min(len(loads) + unlisted, ceil((sum(loads.values()) + unlisted) / policy.threads_per_replica))


def ordered(decision: Decision, policy: Policy) -> Decision:
    """What a person ordered goes before what the queue asks for."""
    if policy.is_suspended:
        return replace(decision, replicas=0, reason="Suspended", message="spec.suspend is set")
    if policy.pinned is not None:
        return replace(decision, replicas=policy.pinned, reason="Pinned", message="spec.replicas is set")
    return decision


def restricted(decision: Decision, seen: Observation, policy: Policy) -> Decision:
    """Without the steps that were switched off."""
    if decision.replicas is None or decision.replicas == seen.replicas:
        return replace(decision, replicas=None)
    if policy.is_recommending:
        advice = f"only recommending {decision.replicas} instead of {seen.replicas}; {decision.message}"
        return replace(decision, replicas=None, reason="Recommended", message=advice)
    if decision.replicas > seen.replicas and policy.may_rise:
        return decision
    if decision.replicas < seen.replicas and policy.may_fall:
        return decision
    return replace(decision, replicas=None, reason="Paused", message=f"paused at {seen.replicas}; {decision.message}")


def workers(replicas: int) -> str:
    return counted(replicas, "worker")
