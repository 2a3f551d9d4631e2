"""
How many workers to have: a pure function of an observation, a policy, the decisions before, and the time.

One worker handles the requests of a thread, so workers are counted in *lanes* and not in requests; `demand` says how
many lanes a queue asks for.

Replicas rise to the wish at once, in one step. They fall to the highest wish of a window that is at least D long, and
only after several known readings in a row. They never fall below the number of workers that can hold all threads held
now; where a worker can hold several, the surplus workers hand theirs over between batches. What is unknown is not zero:
it counts as a wish for the current replicas, and can only raise them.

Once a queue has asked for nothing for ten times what the start of a worker takes, all workers but one leave before the
window ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from sharded_queue.printable import counted
from sharded_queue.state import ShardState
from sharded_queue_operator.scaling.demand import LEAST_STARTS, ROUNDING, Load, endless_threads, free, lanes_of, wish_of
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.observation import Doubt, Observation
from sharded_queue_operator.scaling.policy import Policy
from sharded_queue_operator.scaling.service_time import UNKNOWN_SECONDS
from sharded_queue_operator.scaling.work import least_holders

FEW_READS = "FewReads"

FRESH_READS = 3
"""Known readings in a row before replicas fall: two may come from one stale answer and its repetition."""

IDLE_STARTS = 10.0
"""
The workers of a queue that asks for none stay for this multiple of what a start takes: a burst that comes later than
that is cheaper to start anew for. A smaller multiple adds starts to work that comes in bursts, a larger one adds idle
workers after each.
"""

SLACK = 0.1
"""The part of a worker by which the mean of the window is to exceed their number before it adds one."""


@dataclass(frozen=True, slots=True)
class Decision:
    """
    *replicas* to set; None leaves them as they are. *wish* is what the queue alone asks for at this moment; None when
    nothing of the queue is known. *recommendation* is what would be set if nobody else held the number. *reason* is a
    word for machines, *message* a sentence for people. *history* is for the next decision.
    """

    replicas: int | None
    reason: str
    message: str
    history: History
    wish: int | None = None
    recommendation: int = 0
    lanes: float = 0.0
    doubt: Doubt | None = None

    def leaves_cordons(self, seen: Observation, cordoned: int) -> bool:
        """
        Whether this reading says nothing of a scale-down that has begun, with *cordoned* workers: it may not lower, and
        those that still take threads suffice.
        """
        return self.reason == FEW_READS and (self.wish or 0) <= seen.replicas - cordoned


def decide(seen: Observation, policy: Policy, history: History, now: float) -> Decision:
    policy = policy.fitted(history.start_time.seconds).limited(seen.concurrencies)
    doubt = _doubt(seen, policy, history, now)
    known = replace(seen, shards=()) if _is_stale(seen, policy, now) else seen
    has_worked = history.handled_until(known.shards) > 0
    history = _learned(known, policy, history, now)
    loads, start = _loads(known, policy, history), history.start_time.seconds
    lanes = lanes_of(loads, known.replicas, start, policy)
    is_idle = lanes == 0 and not doubt
    history = history.with_idleness(is_idle=is_idle, has_worked=has_worked, now=now)
    useful = sum(free(load, start).threads for load in loads)
    wish = wish_of(lanes, useful, policy)
    if wish > seen.replicas and start >= policy.drain / LEAST_STARTS:
        left = _left_after_start(loads, seen.replicas, policy, history, now)
        wish = max(seen.replicas, wish_of(lanes_of(left, known.replicas, start, policy), useful, policy))
    if doubt:
        decision = _while_unknown(known, policy, history, now, wish, doubt)
    else:
        decision = _follow_demand(known, policy, history, now, wish)
    decision = replace(decision, lanes=lanes, doubt=doubt, wish=wish if known.shards else None)
    decision = _apply_overrides(decision, policy)
    decision = replace(decision, recommendation=seen.replicas if decision.replicas is None else decision.replicas)
    return _note_rise(_apply_limits(decision, seen, policy), seen, now)


def _learned(seen: Observation, policy: Policy, history: History, now: float) -> History:
    """With all that a reading teaches."""
    history = history.with_work(seen, policy, now).with_lane_times(seen, now) if seen.shards else history
    history = history.with_counters(seen.shards).with_evidence(seen.shards, now).with_estimates(seen.shards)
    history = history.with_blocked(seen.shards, policy, now)
    return replace(history, start_time=history.start_time.after(seen, now))


def _note_rise(decision: Decision, seen: Observation, now: float) -> Decision:
    """Learn from the next readings what the start of the new workers takes."""
    if decision.replicas is None or decision.replicas <= seen.replicas:
        return decision
    start_time = decision.history.start_time.after_rise(seen, decision.replicas, now)
    return replace(decision, history=replace(decision.history, start_time=start_time))


def _is_stale(seen: Observation, policy: Policy, now: float) -> bool:
    return seen.read_at < now - policy.stale_seconds


def _doubt(seen: Observation, policy: Policy, history: History, now: float) -> Doubt | None:
    """Why the queue is unknown; None when it is known."""
    if seen.doubt:
        return seen.doubt
    if _is_stale(seen, policy, now):
        last = f"was last read {now - seen.read_at:.0f} s ago" if seen.shards else "has not been read yet"
        return Doubt("StaleObservation", f"the queue {last}")
    if wiped := sorted({state.shard.handler for state in seen.shards if history.is_wiped(state)}):
        return Doubt("DataLost", f"Redis has lost the data of {', '.join(wiped)}, or is a different Redis")
    return None


def _loads(seen: Observation, policy: Policy, history: History) -> list[Load]:
    """What each shard asks for, with the service time of its own handler."""

    def load(state: ShardState) -> Load:
        seconds = history.seconds_per_request(state.shard.handler, policy)
        endless = endless_threads(state, seconds, policy, history.estimates)
        return Load(state, seconds, endless, history.blocked.get(state.shard, {}).keys())

    return [load(state) for state in seen.shards]


def _left_after_start(loads: Sequence[Load], replicas: int, policy: Policy, history: History, now: float) -> list[Load]:
    """
    What will be left when a worker that is asked for now has started: those that are there, and those on their way,
    will have worked by then, on what comes meanwhile first. Quick starts are left to the next readings.
    """
    start = history.start_time
    work = sum(load.seconds * free(load, start.seconds).depth for load in loads)
    worked = start.worked_by_then(replicas, now) * policy.threads_per_replica - history.work.inflow * start.seconds
    part = max(0.0, 1 - max(0.0, worked) / work) if work else 1.0
    return [load._replace(seconds=load.seconds * part) for load in loads]


def _while_unknown(
    seen: Observation, policy: Policy, history: History, now: float, wish: int, doubt: Doubt
) -> Decision:
    """Replicas rise to the fallback or to the wish of what is known, and do not fall."""
    replicas = policy.bounded(max(seen.replicas, policy.fallback_replicas, wish))
    after = replace(history.with_wish(replicas, policy, now), known_reads=0)
    if replicas == seen.replicas:
        return Decision(None, doubt.reason, f"{doubt.message}; keeping {_workers(seen.replicas)}", after)
    return Decision(replicas, doubt.reason, f"{doubt.message}; {_workers(replicas)} instead of {seen.replicas}", after)


def _follow_demand(seen: Observation, policy: Policy, history: History, now: float, wish: int) -> Decision:
    """Up to the wish at once; down as `_scale_down` allows."""
    # The first reading knows nothing of the window before it: the current replicas stand for what was wished for.
    before = history if history.wishes else history.with_wish(policy.bounded(seen.replicas), policy, now)
    known_reads = history.known_reads + (not seen.is_hurried)
    after = replace(before.with_wish(wish, policy, now), known_reads=known_reads)
    need = f"{_need(seen, after)} ask for {_workers(wish)}"
    steady = _steady(after, policy, now, SLACK)
    if steady > max(wish, seen.replicas) and after.idle_since is None:
        message = f"{need}; those of the last {policy.window:.0f} s took {steady}"
        return Decision(steady, "ScaledUp", message, after.with_wish(steady, policy, now))
    if wish > seen.replicas:
        return Decision(wish, "ScaledUp", f"{need}; there are {seen.replicas}", after)
    if wish == seen.replicas:
        return Decision(None, "AsWished", need, after)
    return _scale_down(seen, policy, after, now, need)


def _steady(history: History, policy: Policy, now: float, slack: float = ROUNDING) -> int:
    """The workers that the mean of the window takes, but for *slack* of one, as long as the work may go on."""
    if _is_over(history, policy, now):
        return 0
    return policy.bounded(ceil(history.work.lanes(policy.window) / policy.threads_per_replica - slack))


def _scale_down(seen: Observation, policy: Policy, history: History, now: float, need: str) -> Decision:
    """Down to the highest wish of the window, but not below the workers that can hold the threads held now."""

    def lower(replicas: int, reason: str, message: str) -> Decision:
        return Decision(replicas, reason, message, history)

    def keep(reason: str, until: str) -> Decision:
        return Decision(None, reason, f"{need}; keeping {seen.replicas} {until}", history)

    if seen.replicas > policy.max_replicas:
        return lower(policy.max_replicas, "AboveMaximum", f"maxReplicas allows {_workers(policy.max_replicas)}")
    if seen.is_hurried or history.known_reads < FRESH_READS:
        return keep(FEW_READS, f"until {FRESH_READS} polls in a row have succeeded")
    highest, holders = policy.bounded(history.highest_wish), policy.bounded(least_holders(seen, policy))
    if (replicas := max(highest, holders, _steady(history, policy, now))) < seen.replicas:
        return lower(
            replicas, "ScaledDown", f"{need}, and for no more than {replicas} in the last {policy.window:.0f} s"
        )
    if highest < seen.replicas:
        return keep("BusyWorkers", f"because it takes {holders} to hold the bound threads")
    if _is_over(history, policy, now):
        return _scale_down_to_one(seen, policy, history, now, holders)
    return keep("WithinWindow", f"for up to {policy.window:.0f} s")


def _is_over(history: History, policy: Policy, now: float) -> bool:
    """Whether nothing asks for workers any more. A window that the user gave is kept."""
    if policy.window_seconds is not None:
        return False
    return history.idle_seconds(now) >= IDLE_STARTS * history.start_time.seconds


def _scale_down_to_one(seen: Observation, policy: Policy, history: History, now: float, holders: int) -> Decision:
    """Starting workers again costs less than keeping them. One stays for the window: a trickle waits for no start."""
    replicas = max(policy.bounded(1), holders)
    idle = f"no thread has asked for a worker for {history.idle_seconds(now):.0f} s"
    message = f"{idle}; keeping {_workers(replicas)} for up to {policy.window:.0f} s"
    return Decision(replicas if replicas < seen.replicas else None, "Idle", message, history)


def _apply_overrides(decision: Decision, policy: Policy) -> Decision:
    """What a person ordered takes precedence over what the queue asks for."""
    if policy.is_suspended:
        return replace(decision, replicas=0, reason="Suspended", message="spec.suspend is set")
    if policy.pinned is not None:
        return replace(decision, replicas=policy.pinned, reason="Pinned", message="spec.replicas is set")
    return decision


def _apply_limits(decision: Decision, seen: Observation, policy: Policy) -> Decision:
    """Leave out a change that the mode or a pause does not allow."""
    if decision.replicas is None or decision.replicas == seen.replicas:
        return replace(decision, replicas=None)
    if policy.is_recommending:
        advice = f"only recommending {decision.replicas} instead of {seen.replicas}; {decision.message}"
        return replace(decision, replicas=None, reason="Recommended", message=advice)
    is_allowed = policy.may_rise if decision.replicas > seen.replicas else policy.may_fall
    if is_allowed:
        return decision
    return replace(decision, replicas=None, reason="Paused", message=f"paused at {seen.replicas}; {decision.message}")


def _need(seen: Observation, history: History) -> str:
    """What waits; and what is proved of its service time, as long as that alone makes the guess."""
    proved = max(history.evidence.values(), default=0.0)
    guess = f" (of {proved:.2g} s or more each)" if proved > UNKNOWN_SECONDS else ""
    return f"{counted(seen.depth, 'request')} in {counted(seen.threads, 'thread')}{guess}{_withheld(seen)}"


def _withheld(seen: Observation) -> str:
    """Why requests ask for no worker: a person has paused them, or their threads back off."""
    return _pauses(seen) or (f" ({seen.blocked} of them blocked)" if seen.blocked else "")


def _pauses(seen: Observation) -> str:
    """Which handlers a person has paused, as their requests ask for no worker."""
    paused = sorted({state.shard.handler for state in seen.shards if state.is_paused})
    if len(paused) <= 1:
        return f" ({paused[0]} is paused)" if paused else ""
    return f" ({len(paused)} handlers are paused)"


def _workers(replicas: int) -> str:
    return counted(replicas, "worker")
