"""
How many lanes the threads of a queue ask for. Pure.

With s seconds per request, a pace T and the cost of a bind b, thread t asks for the part c(t) of a lane:

    c(t) = 1                               if t is endless
           min(1, (s · depth(t) + b) / T)  otherwise

    wish = clamp(ceil(Σ c(t) / threads per replica), minimum, min(maximum, ceil(threads / threads per replica)))

The pace is the work that each lane gets. D is the target drain time, a the time in which a worker starts, and W the
work of all threads, Σ (s · depth(t) + b):

    T = min(D, max(4 · a, s · deepest, min(D − a, √(a · W / threads per replica))))

So the queue is drained within D, starts included; and sooner where that is cheap, as √(a · W) is the work per lane at
which drain time + pod-seconds spent on starts are least. But it is never drained before its deepest thread, and no
worker is started for less than four times what its start takes.

A thread is endless when a worker has held it for D without emptying it, or for twice its estimated hold: it gets new
requests while it is worked on. Endless threads ask for more lanes, on behalf of waiting threads:

- when a thread has waited longer than D, the target is missed: one lane for each endless thread;
- when every lane holds an endless thread, no lane is left to find out about the other threads: one lane for each thread
  that has waited for a second and is at least as deep as an endless one.

Only free threads ask for anything. One that is parked, paused, in quarantine, or backs off after a failure, asks for
nothing until it is free again within the start of a worker. Then, and for D after that, it asks for its next try, one
request, as that may fail too.
"""

from collections.abc import Mapping, Sequence, Set
from math import ceil, sqrt
from typing import NamedTuple

from sharded_queue.state import ShardState
from sharded_queue_operator.scaling.history import Bind, HoldEstimate
from sharded_queue_operator.scaling.policy import Policy

ENDLESS_FACTOR = 2.0
"""
A thread held for this multiple of its estimate is endless. Below 2, the spread of service times around their mean would
make threads endless that are not.
"""

MIN_ENDLESS_SECONDS = 1.0
"""No thread is endless sooner: a worker that starts a second later would find it drained."""

LEAST_STARTS = 4.0
"""The least work of a lane, as a multiple of what the start of its worker takes: a fifth of a pod's time, at most."""

ROUNDING = 1e-9
"""2.0000000001 lanes, a sum of floats, are two lanes."""


class Load(NamedTuple):
    """
    A shard, the *seconds* that one of its requests takes, which of its threads are *endless*, and which were *blocked*
    a short while ago.
    """

    state: ShardState
    seconds: float
    endless: Set[str] = frozenset()
    blocked: Set[str] = frozenset()


class Free(NamedTuple):
    """
    What workers can have of a shard once one has started: the depths of the *listed* threads, the number and the depth
    of those that are not, and the number of *tries*: threads that ask for one request each.
    """

    listed: Mapping[str, int]
    unlisted: int
    unlisted_depth: int
    tries: int

    @property
    def threads(self) -> int:
        return len(self.listed) + self.unlisted + self.tries

    @property
    def depth(self) -> int:
        return sum(self.listed.values()) + self.unlisted_depth + self.tries


NOTHING = Free({}, 0, 0, 0)


def free(load: Load, start_seconds: float) -> Free:
    """
    The free threads of a shard. Overdue requests count even before a worker moved them into their tubes, as without a
    worker nothing would move them; each may open a new thread.
    """
    state = load.state
    if state.is_paused:
        return NOTHING
    blocked = {each.thread: each.depth for each in state.blocked_threads}
    # Threads that are paused without a request count as blocked, so that the first difference is too small for these.
    threads = min(state.threads, max(state.threads - state.parked - state.blocked, state.ready + state.bound))
    found = [(thread, depth) for thread, depth in state.deepest if thread not in blocked]
    listed = dict(found[: max(0, threads)])
    unlisted = max(0, threads - len(listed))
    tried = listed.keys() & load.blocked
    rest = state.depth - state.parked_depth - sum(blocked.values()) - sum(listed.values())
    deepest = found[-1][1] if found else rest
    due = sum(each.seconds <= start_seconds for each in state.blocked_threads)
    untried = {thread: depth for thread, depth in listed.items() if thread not in tried}
    return Free(untried, unlisted, max(0, min(rest, unlisted * deepest)), len(tried) + due + state.overdue)


def lanes_of(loads: Sequence[Load], replicas: int, start_seconds: float, policy: Policy) -> float:
    """The lanes that all shards ask for together, where a worker starts in *start_seconds*."""
    pace = pace_of(loads, start_seconds, policy)
    is_stuck = sum(len(load.endless) for load in loads) >= replicas * policy.threads_per_replica
    return sum(
        _shares(load, free(load, start_seconds), pace, policy) + _lanes_on_behalf_of_waiting(load, policy, is_stuck)
        for load in loads
    )


def pace_of(loads: Sequence[Load], start_seconds: float, policy: Policy) -> float:
    """T of the formula: the seconds of work that a lane gets."""
    frees = [(load.seconds, free(load, start_seconds)) for load in loads]
    deepest = max((seconds * max(each.listed.values(), default=0) for seconds, each in frees), default=0.0)
    work = sum(seconds * each.depth + policy.bind_seconds * each.threads for seconds, each in frees)
    cheapest = sqrt(start_seconds * work / policy.threads_per_replica)
    hurried = min(policy.drain - start_seconds, cheapest)
    return min(policy.drain, max(LEAST_STARTS * start_seconds, deepest, hurried))


def waiting_threads(state: ShardState, seconds: float) -> Mapping[str, float]:
    """The lag of each thread whose oldest request has waited for a worker for *seconds*; the oldest last."""
    held = {hold.thread for hold in state.held}
    ready = [tube for tube in reversed(state.oldest) if tube.state == "ready" and tube.thread not in held]
    lags = {tube.thread: tube.lag_seconds for tube in ready}
    return {thread: lag for thread, lag in lags.items() if lag >= seconds}


def wish_of(lanes: float, useful_lanes: int, policy: Policy) -> int:
    useful = ceil(useful_lanes / policy.threads_per_replica)
    return policy.bounded(min(ceil(lanes / policy.threads_per_replica - ROUNDING), useful))


def endless_threads(
    state: ShardState, seconds: float, policy: Policy, estimates: Mapping[Bind, HoldEstimate]
) -> Set[str]:
    def limit(thread: str, fence: int) -> float:
        estimate = estimates.get(Bind(state.shard, thread, fence))
        if estimate is None:
            return policy.drain
        expected = estimate.expected_seconds(seconds, policy)
        return min(policy.drain, max(MIN_ENDLESS_SECONDS, ENDLESS_FACTOR * expected))

    return {hold.thread for hold in state.held if hold.busy_seconds >= limit(hold.thread, hold.fence)}


def _shares(load: Load, free: Free, pace: float, policy: Policy) -> float:
    """
    Σ c(t) over the free threads of a shard, from its deepest ones and its totals.

    Unlisted threads are no deeper than the last listed one. While that one asks for less than a lane, the unlisted ones
    are in the linear part of the formula, where the sum of their depths gives the exact result. If every listed thread
    asks for a whole lane, the list alone exceeds the policy's maximum, provided it has more entries than
    `Policy.lanes`.
    """

    def share(depth: int, threads: int = 1) -> float:
        return min(threads, (load.seconds * depth + policy.bind_seconds * threads) / pace)

    listed = sum(1.0 if thread in load.endless else share(depth) for thread, depth in free.listed.items())
    endless = min(free.unlisted, len(load.endless - free.listed.keys()))
    unlisted = share(max(0, free.unlisted_depth - endless), free.unlisted - endless)
    return listed + endless + unlisted + share(free.tries, free.tries)


def _lanes_on_behalf_of_waiting(load: Load, policy: Policy, is_stuck: bool) -> int:
    """At most one for each thread that waits for a worker."""
    state, endless = load.state, load.endless
    if state.is_paused or not endless:
        return 0
    missed = min(len(endless), len(waiting_threads(state, policy.drain)))
    return max(missed, len(_threads_alike(state, endless)) if is_stuck else 0)


def _threads_alike(state: ShardState, endless: Set[str]) -> Sequence[str]:
    """Threads that have waited for as long as it takes to be endless, and are no shallower than an endless one."""
    depths = dict(state.deepest)
    shallowest = min(depths.get(thread, 1) for thread in endless)
    return [thread for thread in waiting_threads(state, MIN_ENDLESS_SECONDS) if depths.get(thread, 1) >= shallowest]
