"""What a decision remembers of the ones before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sharded_queue.state import ShardState
from sharded_queue.tube import Shard
from sharded_queue_operator.scaling.policy import Policy
from sharded_queue_operator.scaling.service_time import Counters, Pace


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
