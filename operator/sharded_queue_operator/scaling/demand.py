"""How many lanes the threads of a queue ask for."""

from collections.abc import Mapping
from math import ceil

from sharded_queue.state import ShardState
from sharded_queue_operator.scaling.history import Bind, Span
from sharded_queue_operator.scaling.policy import Policy

SURPRISE = 2.0
"""A thread that is held for so many times what it asked for is fed meanwhile: requests differ, their mean is known."""

LEAST_SECONDS = 1.0
"""No thread counts as endless before: a worker that is there a second later would find it emptied."""

ROUNDING = 1e-9
"""Sums of floats: 2.0000000001 lanes are two."""


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
