"""
When a decision may change although nothing happened to the queue: the moments that time alone brings. Pure.

A queue is read again and again, and mostly nothing has happened since the last reading. Then the same would be decided
again, unless one of these moments has come.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from math import inf
from operator import attrgetter

from sharded_queue.state import ShardState
from sharded_queue_operator.scaling.decide import FEW_READS, FRESH_READS, IDLE_STARTS, Decision
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.observation import Observation
from sharded_queue_operator.scaling.policy import Policy
from sharded_queue_operator.scaling.work import SAMPLES

AGEING = frozenset({"lag_seconds", "oldest", "overdue_seconds", "polled_seconds", "told_seconds"})
"""
What changes in a shard without an event. Holds and threads that back off count as events: how long they last decides.
"""

ROUNDING_SECONDS = 1e-3
"""A moment that has just come may not have come by another sum of the same numbers."""

facts = attrgetter(*(field.name for field in fields(ShardState) if field.name not in AGEING))


def is_same(before: Sequence[ShardState], after: Sequence[ShardState]) -> bool:
    """Whether nothing happened between two readings, except that time passed."""
    return len(before) == len(after) and all(map(_is_same, before, after))


def _is_same(before: ShardState, after: ShardState) -> bool:
    return bool(facts(before) == facts(after)) and [tube._replace(lag_seconds=0) for tube in before.oldest] == [
        tube._replace(lag_seconds=0) for tube in after.oldest
    ]


def next_change(seen: Observation, policy: Policy, decision: Decision, now: float) -> float:
    """When the same observation may lead to another *decision*: -inf for each reading, inf for never."""
    history = decision.history
    is_moving = decision.replicas is not None or decision.doubt or history.start_time.rises or history.blocked
    if is_moving or history.known_reads < FRESH_READS or decision.reason == FEW_READS:  # a poll in time may lower
        return -inf
    if decision.wish is None or seen.replicas <= decision.wish:
        return inf
    fitted = policy.fitted(history.start_time.seconds)
    return min((at for at in _ends_of_waits(history, fitted, now) if at > now - ROUNDING_SECONDS), default=inf)


def _ends_of_waits(history: History, policy: Policy, now: float) -> Iterator[float]:
    """When replicas may fall: higher wishes or work leave the window, or the queue has been idle for long."""
    yield from (wish.at + policy.window for wish in history.wishes)
    if history.idle_since is not None:
        yield history.idle_since + IDLE_STARTS * history.start_time.seconds
    if history.work.lanes(policy.window) > 0:
        yield now + policy.window / SAMPLES
