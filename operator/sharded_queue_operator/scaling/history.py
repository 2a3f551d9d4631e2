"""What a decision needs to know of the decisions before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import NamedTuple

from sharded_queue.state import ShardState
from sharded_queue.tube import Shard
from sharded_queue_operator.scaling.lane_times import LaneTimes
from sharded_queue_operator.scaling.observation import Observation
from sharded_queue_operator.scaling.policy import Policy
from sharded_queue_operator.scaling.service_time import Counters, ServiceTime, Settled, guessed, proved_seconds
from sharded_queue_operator.scaling.start_time import StartTime
from sharded_queue_operator.scaling.work import Done, Work, busy_lanes


class Bind(NamedTuple):
    """One bind of a thread; the fence tells it from the binds before and after."""

    shard: Shard
    thread: str
    fence: int


class HoldEstimate(NamedTuple):
    """
    How long a worker should hold a bound thread: *before_seconds* until it was first seen in the worker's hands, and
    then the time of the *depth* requests that were in it. *busy_seconds* is how long it had been held when it was last
    seen.
    """

    before_seconds: float
    depth: int
    busy_seconds: float

    def expected_seconds(self, seconds: float, policy: Policy) -> float:
        """From the bind until the thread is drained, with *seconds* per request."""
        return self.before_seconds + seconds * self.depth + policy.bind_seconds


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

    idle_since: float | None = None
    """Since when the queue asks for nothing, without a doubt; None while it asks for something."""

    watched_since: Mapping[Shard, float] = field(default_factory=dict)
    """The time of the first reading of each shard."""

    evidence: Mapping[str, float] = field(default_factory=dict)
    """Seconds per request that the batches in hand prove, by handler: no request takes less."""

    start_time: StartTime = field(default_factory=StartTime)

    work: Work = field(default_factory=Work)

    lane_times: Mapping[str, LaneTimes] = field(default_factory=dict)
    """By handler."""

    estimates: Mapping[Bind, HoldEstimate] = field(default_factory=dict)
    """For the threads that are held now."""

    blocked: Mapping[Shard, Mapping[str, float]] = field(default_factory=dict)
    """When each thread that backs off, or did so in the last D, was last seen to."""

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
        """The user's value if there is one, else the learned one, else a guess."""
        given = policy.seconds_per_request.get(handler)
        if given is not None:
            return given
        learned = self.service_times.get(handler)
        return learned.seconds if learned else guessed(self.evidence.get(handler, 0.0))

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
            if before and (settled := before.settled_until(after)):
                service_times[handler] = service_times.get(handler, ServiceTime()).including(*settled)
            if after.born is not None or before is None:
                counters[state.shard] = after
        return replace(self, service_times=service_times, counters=counters)

    def with_work(self, seen: Observation, policy: Policy, now: float) -> "History":
        """With the work that was done since the last reading; before `with_counters`, which forgets that one."""
        done = Done(self.handled_until(seen.shards), self._came_until(seen.shards, policy))
        return replace(self, work=self.work.after(seen, done, busy_lanes(seen, policy), policy.window, now))

    def with_lane_times(self, seen: Observation, now: float) -> "History":
        """With what a request took, by the number of lanes that were busy; before `with_counters`."""
        times = dict(self.lane_times)
        for handler in {state.shard.handler for state in seen.shards}:
            shards = [state for state in seen.shards if state.shard.handler == handler]
            settled, busy = self._settled_until(shards), seen.busy_lanes
            count = settled.settled if settled else 0
            times[handler] = times.get(handler, LaneTimes()).after(count, sum(busy.values()), len(busy), now)
        return replace(self, lane_times=times)

    def _settled_until(self, shards: Sequence[ShardState]) -> Settled | None:
        """What was settled between the last reading and *shards*; None where nothing was."""
        known = [(self.counters[each.shard], Counters.of(each)) for each in shards if each.shard in self.counters]
        found = [settled for before, after in known if (settled := before.settled_until(after))]
        return Settled(sum(each.settled for each in found), sum(each.busy_seconds for each in found)) if found else None

    def handled_until(self, shards: Sequence[ShardState]) -> float:
        """The handler's time of what was settled between the last reading and *shards*."""
        settled = self._settled_until(shards)
        return settled.busy_seconds if settled else 0.0

    def _came_until(self, shards: Sequence[ShardState], policy: Policy) -> float:
        """The seconds that the requests will take which came since the last reading."""
        known = [(self.counters[each.shard], each) for each in shards if each.shard in self.counters]
        return sum(
            max(0, each.registered - before.registered) * self.seconds_per_request(each.shard.handler, policy)
            for before, each in known
            if before.born == each.born
        )

    def with_evidence(self, shards: Sequence[ShardState], now: float) -> "History":
        """
        With what the batches in hand say of the handlers of which nothing was learned. As nothing was, no request was
        settled since the first reading.
        """
        watched_since = {state.shard: now for state in shards} | dict(self.watched_since)
        evidence: dict[str, float] = {}
        for state in shards:
            handler = state.shard.handler
            if handler not in self.service_times:
                proved = proved_seconds(state, now - watched_since[state.shard])
                evidence[handler] = max(proved, evidence.get(handler, 0.0))
        return replace(self, watched_since=watched_since, evidence=evidence)

    def with_estimates(self, shards: Sequence[ShardState]) -> "History":
        """With an estimate for each thread that workers hold, made when the thread was first seen in their hands."""
        answered = {state.shard for state in shards}
        estimates = {bind: estimate for bind, estimate in self.estimates.items() if bind.shard not in answered}
        for state in shards:
            estimates |= self._estimates_of(state)
        return replace(self, estimates=estimates)

    def with_blocked(self, shards: Sequence[ShardState], policy: Policy, now: float) -> "History":
        """With the threads that back off now. Those that are paused wait for a person, and not for another try."""
        blocked = dict(self.blocked)
        for state in shards:
            before = blocked.pop(state.shard, {})
            recent = {thread: at for thread, at in before.items() if at > now - policy.drain}
            recent |= {each.thread: now for each in state.blocked_threads if each.seconds < inf}
            blocked |= {state.shard: recent} if recent else {}
        return replace(self, blocked=blocked)

    def with_idleness(self, *, is_idle: bool, has_worked: bool, now: float) -> "History":
        """With whether the queue asks for anything now, and whether anything was settled since the last reading."""
        if not is_idle:
            return replace(self, idle_since=None)
        return self if self.idle_since is not None and not has_worked else replace(self, idle_since=now)

    def idle_seconds(self, now: float) -> float:
        return 0.0 if self.idle_since is None else now - self.idle_since

    def with_wish(self, replicas: int, policy: Policy, now: float) -> "History":
        kept = [wish for wish in self.wishes if wish.at > now - policy.window and wish.replicas > replicas]
        return replace(self, wishes=(*kept, Wish(now, replicas)))

    def without_data(self) -> "History":
        """Without what depends on the data in Redis, which may be other data from now on. Service times stay."""
        return History(self.wishes, service_times=self.service_times, start_time=self.start_time)

    def _estimates_of(self, state: ShardState) -> Mapping[Bind, HoldEstimate]:
        depths, estimates = dict(state.deepest), {}
        unlisted = min(depths.values(), default=1)
        for hold in state.held:
            bind = Bind(state.shard, hold.thread, hold.fence)
            before = self.estimates.get(bind)
            if before and before.busy_seconds <= hold.busy_seconds:  # else it was emptied and filled again meanwhile
                estimates[bind] = before._replace(busy_seconds=hold.busy_seconds)
            else:
                depth = depths.get(hold.thread, unlisted)
                estimates[bind] = HoldEstimate(hold.busy_seconds, depth, hold.busy_seconds)
        return estimates
