"""What a decision needs to know of the decisions before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sharded_queue.state import ShardState
from sharded_queue.tube import Shard
from sharded_queue_operator.scaling.policy import Policy
from sharded_queue_operator.scaling.service_time import Counters, ServiceTime


class Bind(NamedTuple):
    """One bind of a thread; the fence tells it from the binds before and after."""

    shard: Shard
    thread: str
    fence: int


class HoldEstimate(NamedTuple):
    """
    How long a worker should hold a bound thread. *expected_seconds* is from the bind until the thread is drained, by
    the requests in it when it was first seen in the worker's hands; *busy_seconds* is how long it had been held when it
    was last seen.
    """

    expected_seconds: float
    busy_seconds: float


class Wish(NamedTuple):
    """The replicas that the queue alone asked for at a moment."""

    at: float
    replicas: int


@dataclass(frozen=True, slots=True)
class History:
    """Immutable: each decision returns the history for the next one."""

    wishes: tuple[Wish, ...] = ()
    """Those that may still be the highest of the window: each one higher than all later ones."""

    known_reads: int = 0
    """Readings without a doubt, in a row."""

    service_times: Mapping[str, ServiceTime] = field(default_factory=dict)
    """By handler."""

    counters: Mapping[Shard, Counters] = field(default_factory=dict)

    estimates: Mapping[Bind, HoldEstimate] = field(default_factory=dict)
    """For the threads that are held now."""

    @classmethod
    def restored(cls, seconds: Mapping[str, float], born: Mapping[Shard, int]) -> "History":
        """What an earlier process learned: seconds per request, and the markers of the data that it saw."""
        return cls(
            service_times={handler: ServiceTime.restored(value) for handler, value in seconds.items()},
            counters={shard: Counters(marker, 0, 0.0) for shard, marker in born.items()},
        )

    @property
    def highest_wish(self) -> int:
        return self.wishes[0].replicas

    def seconds_per_request(self, handler: str, policy: Policy) -> float:
        """The user's value if there is one, else the learned one, else an assumption."""
        given = policy.seconds_per_request.get(handler)
        return self.service_times.get(handler, ServiceTime()).seconds if given is None else given

    def is_wiped(self, state: ShardState) -> bool:
        """Whether the shard once had other data than now."""
        before = self.counters.get(state.shard)
        return before is not None and before.born is not None and before.born != state.born

    def with_counters(self, shards: Sequence[ShardState]) -> "History":
        """
        With the counters of *shards* and the service times learned from them.

        A marker that vanished stays remembered, so that the data count as lost until there are new data.
        """
        service_times, counters = dict(self.service_times), dict(self.counters)
        for state in shards:
            handler, before, after = state.shard.handler, counters.get(state.shard), Counters.of(state)
            if before and before.is_followed_by(after) and after.settled > before.settled:
                settled, busy_seconds = after.settled - before.settled, after.busy_seconds - before.busy_seconds
                service_times[handler] = service_times.get(handler, ServiceTime()).including(settled, busy_seconds)
            if after.born is not None or before is None:
                counters[state.shard] = after
        return replace(self, service_times=service_times, counters=counters)

    def with_estimates(self, shards: Sequence[ShardState], policy: Policy) -> "History":
        """With an estimate for each thread that workers hold, made when the thread was first seen in their hands."""
        answered = {state.shard for state in shards}
        estimates = {bind: estimate for bind, estimate in self.estimates.items() if bind.shard not in answered}
        for state in shards:
            estimates |= self._estimates_of(state, self.seconds_per_request(state.shard.handler, policy), policy)
        return replace(self, estimates=estimates)

    def with_wish(self, replicas: int, policy: Policy, now: float) -> "History":
        kept = [wish for wish in self.wishes if wish.at > now - policy.window and wish.replicas > replicas]
        return replace(self, wishes=(*kept, Wish(now, replicas)))

    def without_data(self) -> "History":
        """Without what depends on the data in Redis, which may be other data from now on. Service times stay."""
        return replace(self, counters={}, estimates={}, known_reads=0)

    def _estimates_of(self, state: ShardState, seconds: float, policy: Policy) -> Mapping[Bind, HoldEstimate]:
        depths, estimates = dict(state.deepest), {}
        unlisted = min(depths.values(), default=1)
        for hold in state.held:
            bind = Bind(state.shard, hold.thread, hold.fence)
            before = self.estimates.get(bind)
            expected = hold.busy_seconds + seconds * depths.get(hold.thread, unlisted) + policy.bind_seconds
            if before and before.busy_seconds <= hold.busy_seconds:  # else it was emptied and filled again meanwhile
                expected = before.expected_seconds
            estimates[bind] = HoldEstimate(expected, hold.busy_seconds)
        return estimates
