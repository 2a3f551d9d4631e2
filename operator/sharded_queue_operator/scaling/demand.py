"""
How many lanes the threads of a queue ask for. Pure.

With s seconds per request, D the target drain time and b the cost of a bind, thread t asks for the part c(t) of a lane:

    c(t) = 1                               if t is endless
           min(1, (s · depth(t) + b) / D)  otherwise

    wish = clamp(ceil(Σ c(t) / threads per replica), minimum, min(maximum, ceil(threads / threads per replica)))

A thread is endless when a worker has held it for D without emptying it, or for twice its estimated hold: it gets new
requests while it is worked on. When a thread has waited longer than D, the target is missed. Every endless thread then
asks for one more lane on behalf of a waiting one.
"""

from collections.abc import Mapping, Set
from math import ceil

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

ROUNDING = 1e-9
"""2.0000000001 lanes, a sum of floats, are two lanes."""

NO_ESTIMATES: Mapping[Bind, HoldEstimate] = {}


def lanes_of(
    state: ShardState, seconds: float, policy: Policy, estimates: Mapping[Bind, HoldEstimate] = NO_ESTIMATES
) -> float:
    """
    Σ c(t) over the threads of a shard, from its deepest ones and its totals.

    Unlisted threads are no deeper than the last listed one. While that one asks for less than a lane, the unlisted ones
    are in the linear part of the formula, where the sum of their depths gives the exact result. If every listed thread
    asks for a whole lane, the list alone exceeds the policy's maximum, provided it has more entries than
    `Policy.lanes`.

    A paused shard asks for nothing, as it gives no requests to workers; nor do parked threads, which wait for threads
    of the previous layout. Overdue requests count even before a worker moved them into their tubes, as without a worker
    nothing would move them.
    """
    if state.is_paused:
        return 0.0

    def share(depth: int, threads: int = 1) -> float:
        return min(threads, (seconds * depth + policy.bind_seconds * threads) / policy.drain_seconds)

    endless = _endless_threads(state, policy, estimates)
    listed = sum(1.0 if thread in endless else share(depth) for thread, depth in state.deepest)
    endless_unlisted = len(endless.difference(thread for thread, _ in state.deepest))
    threads = max(0, state.threads - state.parked - len(state.deepest) - endless_unlisted)
    depth = max(0, state.depth - state.parked_depth - sum(depth for _, depth in state.deepest) - endless_unlisted)
    unlisted = endless_unlisted + share(depth, threads)
    overdue = share(state.overdue, state.overdue)
    return listed + unlisted + overdue + _lanes_on_behalf_of_waiting(state, policy, endless)


def waiting_threads(state: ShardState, seconds: float) -> Mapping[str, float]:
    """
    The lag of each thread that no worker holds and whose oldest request has waited for *seconds*; the oldest last.

    Redis reports how many threads are blocked or parked, but not which: some of these may be.
    """
    held = {hold.thread for hold in state.held}
    lags = {tube.thread: tube.lag_seconds for tube in reversed(state.oldest) if tube.thread not in held}
    return {thread: lag for thread, lag in lags.items() if lag >= seconds}


def wish_of(lanes: float, useful_lanes: int, policy: Policy) -> int:
    useful = ceil(useful_lanes / policy.threads_per_replica)
    return policy.bounded(min(ceil(lanes / policy.threads_per_replica - ROUNDING), useful))


def _endless_threads(state: ShardState, policy: Policy, estimates: Mapping[Bind, HoldEstimate]) -> set[str]:
    def limit(thread: str, fence: int) -> float:
        estimate = estimates.get(Bind(state.shard, thread, fence))
        if estimate is None:
            return policy.drain_seconds
        return min(policy.drain_seconds, max(MIN_ENDLESS_SECONDS, ENDLESS_FACTOR * estimate.expected_seconds))

    return {hold.thread for hold in state.held if hold.busy_seconds >= limit(hold.thread, hold.fence)}


def _lanes_on_behalf_of_waiting(state: ShardState, policy: Policy, endless: Set[str]) -> int:
    """One for each endless thread, but no more than threads have waited for D that a worker could bind."""
    waiting = len(waiting_threads(state, policy.drain_seconds)) - state.blocked - state.parked
    return min(len(endless), max(0, waiting))
