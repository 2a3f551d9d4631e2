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

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import NamedTuple

from sharded_queue.printable import counted
from sharded_queue.state import ShardState
from sharded_queue.tube import Shard
from sharded_queue_operator.scaling.policy import Policy
from sharded_queue_operator.scaling.service_time import Counters, Pace

FRESH_READS = 3
"""Replicas fall only after so many known reads in a row: two may come from one stale answer and its repetition."""

SURPRISE = 2.0
"""A thread that is held for so many times what it asked for is fed meanwhile: requests differ, their mean is known."""

LEAST_SECONDS = 1.0
"""No thread counts as endless before: a worker that is there a second later would find it emptied."""

ROUNDING = 1e-9
"""Sums of floats: 2.0000000001 lanes are two."""


class Doubt(NamedTuple):
    """Why a queue, or a part of it, is unknown: a word for machines and a sentence for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Observation:
    """
    What is known of a resource: the workload's replicas, and the shards that answered at *read_at*.

    *doubt* is set when shards are missing from the answer; those that are there are true all the same.
    """

    replicas: int
    shards: Sequence[ShardState] = ()
    read_at: float = float("-inf")
    doubt: Doubt | None = None

    @property
    def depth(self) -> int:
        return sum(state.depth for state in self.shards)

    @property
    def threads(self) -> int:
        return sum(state.threads for state in self.shards)

    @property
    def ready(self) -> int:
        return sum(state.ready for state in self.shards)

    @property
    def bound(self) -> int:
        return sum(state.bound for state in self.shards)

    @property
    def blocked(self) -> int:
        return sum(state.blocked for state in self.shards)

    @property
    def lag_seconds(self) -> float:
        return max((state.lag_seconds for state in self.shards), default=0.0)

    @property
    def useful_lanes(self) -> int:
        """Threads that a worker could hold now; a request whose time came a moment ago may be a thread of its own."""
        return sum(state.threads - state.parked + state.overdue for state in self.shards if not state.is_paused)

    @property
    def loads(self) -> Counter[str]:
        """Workers that hold threads with requests, and how many each."""
        return Counter(hold.worker for state in self.shards for hold in state.held if hold.busy_seconds > 0)

    @property
    def unlisted_holds(self) -> int:
        return sum(state.unlisted_holds for state in self.shards)


class Bind(NamedTuple):
    """One worker's time with one thread."""

    shard: Shard
    thread: str
    fence: int


class Span(NamedTuple):
    """
    How long a bound thread keeps its worker: *asked_seconds* from its bind to its end, by what waited in it when it was
    first seen; *busy_seconds* when it was last seen.
    """

    asked_seconds: float
    busy_seconds: float


class Wish(NamedTuple):
    at: float
    replicas: int


@dataclass(frozen=True, slots=True)
class History:
    """What a decision needs of the ones before it; give `Decision.history` to the next."""

    wishes: tuple[Wish, ...] = ()
    """Those that may still be the highest of the window: each one higher than all later ones."""

    reads: int = 0
    """Known reads in a row."""

    paces: Mapping[str, Pace] = field(default_factory=dict)
    counters: Mapping[Shard, Counters] = field(default_factory=dict)

    spans: Mapping[Bind, Span] = field(default_factory=dict)
    """Of the threads that are held now."""

    @classmethod
    def resumed(cls, seconds: Mapping[str, float], born: Mapping[Shard, int]) -> "History":
        """A start with what an earlier process learned: handling times, and the markers of the data it saw."""
        return cls(
            paces={name: Pace.known(value) for name, value in seconds.items()},
            counters={shard: Counters(marker, 0, 0.0) for shard, marker in born.items()},
        )

    def seconds(self, handler: str, policy: Policy) -> float:
        """Seconds per request: what the user gave, else what was learned, else a guess."""
        given = policy.seconds_per_request.get(handler)
        return self.paces.get(handler, Pace()).seconds if given is None else given

    def is_wiped(self, state: ShardState) -> bool:
        before = self.counters.get(state.shard)
        return before is not None and before.born is not None and before.born != state.born

    def learned(self, shards: Sequence[ShardState]) -> "History":
        """
        With the counters of *shards* and the paces that follow from them.

        A marker that vanished stays remembered, so that the data count as lost until there are new ones.
        """
        paces, counters = dict(self.paces), dict(self.counters)
        for state in shards:
            before, after = counters.get(state.shard), Counters.of(state)
            if before and before.is_followed_by(after) and after.settled > before.settled:
                pace = paces.get(state.shard.handler, Pace())
                spent = after.busy_seconds - before.busy_seconds
                paces[state.shard.handler] = pace.after(after.settled - before.settled, spent)
            if after.born is not None or before is None:
                counters[state.shard] = after
        return replace(self, paces=paces, counters=counters)

    def spanned(self, shards: Sequence[ShardState], policy: Policy) -> "History":
        """With what the threads in workers' hands ask for, each as it was when it was first seen there."""
        answered = {state.shard for state in shards}
        spans = {bind: span for bind, span in self.spans.items() if bind.shard not in answered}
        for state in shards:
            spans |= self.spans_of(state, self.seconds(state.shard.handler, policy), policy)
        return replace(self, spans=spans)

    def spans_of(self, state: ShardState, seconds: float, policy: Policy) -> Mapping[Bind, Span]:
        depths, spans = dict(state.deepest), {}
        unlisted = min(depths.values(), default=1)
        for hold in state.held:
            bind = Bind(state.shard, hold.thread, hold.fence)
            before = self.spans.get(bind)
            asked = hold.busy_seconds + seconds * depths.get(hold.thread, unlisted) + policy.bind_seconds
            if before and before.busy_seconds <= hold.busy_seconds:  # else it was emptied meanwhile, and began anew
                asked = before.asked_seconds
            spans[bind] = Span(asked, hold.busy_seconds)
        return spans

    def from_here(self) -> "History":
        """Without what is known of the data: those to come may be others. Handling times are those of the handlers."""
        return replace(self, counters={}, spans={}, reads=0)

    def wished(self, replicas: int, policy: Policy, now: float) -> "History":
        kept = [wish for wish in self.wishes if wish.at > now - policy.window and wish.replicas > replicas]
        return replace(self, wishes=(*kept, Wish(now, replicas)))

    @property
    def highest(self) -> int:
        return self.wishes[0].replicas


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


NOTHING_KNOWN: Mapping[Bind, Span] = {}


def lanes_of(state: ShardState, seconds: float, policy: Policy, spans: Mapping[Bind, Span] = NOTHING_KNOWN) -> float:
    """
    Σ c(t) over a shard's threads, from its deepest ones and the sums.

    Threads that are not listed are no deeper than the last that is. As long as that one fills less than a lane, theirs
    is the linear part of the formula, and a sum of depths gives it exactly. When every listed thread fills a lane, the
    list alone exceeds what the policy can give, if it was asked for with more places than `Policy.lanes`.

    A paused shard gives nothing out, so that no worker is of use to it; nor do parked threads, which wait for threads
    of the layout before. Delayed requests count from their time on, even before a worker looked and put them into
    their tubes: where no worker runs, none would look.
    """
    if state.is_paused:
        return 0.0

    def share(depth: int, threads: int = 1) -> float:
        return min(threads, (seconds * depth + policy.bind_seconds * threads) / policy.drain_seconds)

    held = endless(state, policy, spans)
    listed = sum(1.0 if thread in held else share(depth) for thread, depth in state.deepest)
    unlisted = len(held.difference(thread for thread, _ in state.deepest))
    threads = max(0, state.threads - state.parked - len(state.deepest) - unlisted)
    depth = max(0, state.depth - state.parked_depth - sum(depth for _, depth in state.deepest) - unlisted)
    alike = min(len(held), max(0, len(unserved(state, policy.drain_seconds)) - state.blocked - state.parked))
    return listed + unlisted + share(depth, threads) + share(state.overdue, state.overdue) + alike


def endless(state: ShardState, policy: Policy, spans: Mapping[Bind, Span]) -> set[str]:
    """Threads of which nobody knows when their workers are done with them."""

    def patience(thread: str, fence: int) -> float:
        span = spans.get(Bind(state.shard, thread, fence))
        expected = max(LEAST_SECONDS, SURPRISE * span.asked_seconds) if span else policy.drain_seconds
        return min(policy.drain_seconds, expected)

    return {hold.thread for hold in state.held if hold.busy_seconds >= patience(hold.thread, hold.fence)}


def unserved(state: ShardState, seconds: float) -> Mapping[str, float]:
    """
    Threads that no worker holds and whose oldest request has waited for *seconds*, with its lag, the oldest last.

    Which threads are blocked by a back-off or a person, or parked, is not told, only how many: some of these may be.
    """
    held = {hold.thread for hold in state.held}
    lags = {tube.thread: tube.lag_seconds for tube in reversed(state.oldest) if tube.thread not in held}
    return {thread: lag for thread, lag in lags.items() if lag >= seconds}


def wish_of(lanes: float, useful_lanes: int, policy: Policy) -> int:
    useful = ceil(useful_lanes / policy.threads_per_replica)
    return policy.bounded(min(ceil(lanes / policy.threads_per_replica - ROUNDING), useful))


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
