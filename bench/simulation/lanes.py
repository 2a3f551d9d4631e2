"""Our rule: the operator's own decision, fed with what a poll of a simulated world would read."""

from bench.simulation.timeline import SECOND, us
from bench.simulation.world import Pod, Thread, World
from sharded_queue.state import Hold, ShardState, TubeLag
from sharded_queue.tube import Shard
from sharded_queue_operator.polling.reader import MOST_LISTED
from sharded_queue_operator.scaling.decide import decide
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.observation import Observation
from sharded_queue_operator.scaling.policy import Policy
from sharded_queue_operator.scaling.surplus import Candidate, Cordons, Stage, count_swaps, plan_scale_down

SHARD = Shard("simulated")


class Lanes:
    """Polls every *period* seconds, and at once when an empty queue gets its first request."""

    def __init__(self, policy: Policy, period: float = 1.0, phase: float = 0.0) -> None:
        self.policy, self.period, self.phase = policy, us(period), phase
        self.history = History()
        self.cordons = Cordons()

    def attend(self, world: World) -> None:
        world.arrived = lambda: world.timeline.after(0, lambda: self.poll(world, is_hurried=True))
        world.timeline.every(self.period, lambda: self.poll(world), first=round(self.phase * self.period))

    def poll(self, world: World, *, is_hurried: bool = False) -> None:
        now = world.timeline.seconds
        shards = (observed(world, min(self.policy.lanes + 1, MOST_LISTED)),)
        seen = Observation(world.wanted, shards, now, is_hurried=is_hurried)
        decision = decide(seen, self.policy, self.history, now)
        self.history = decision.history
        if decision.leaves_cordons(seen, len(self.cordons.since)):
            return
        if decision.replicas is None or decision.replicas >= world.wanted:
            self.cordon(world, frozenset())
        if decision.replicas is not None:
            self.carry_out(world, decision.replicas)

    def carry_out(self, world: World, replicas: int) -> None:
        """Surplus workers take no more threads, and go once they hold none."""
        workers = [candidate(pod) for pod in world.staying]
        plan = plan_scale_down(workers, world.wanted, replicas, self.cordons, world.timeline.seconds)
        if replicas < world.wanted:
            self.cordon(world, plan.surplus)
        if plan.replicas != world.wanted:
            world.scale(plan.replicas, lambda world, replicas: set(plan.names(Stage.GONE)))

    def cordon(self, world: World, surplus: frozenset[str]) -> None:
        world.cordon(set(surplus))
        since, now = self.cordons.since, world.timeline.seconds
        swaps = count_swaps(self.cordons, surplus) if surplus else 0
        self.cordons = Cordons({name: since.get(name, now) for name in surplus}, swaps)


def candidate(pod: Pod) -> Candidate:
    threads = sum(bool(thread.depth) for thread in pod.threads.values())
    return Candidate(pod.name, threads, len(pod.threads), 3 if pod.is_up else 2, pod.name)


def observed(world: World, listed: int) -> ShardState:
    """The answer that `observe.lua` would give."""
    waiting = [thread for thread in world.threads.values() if thread.depth]
    deepest = sorted((t for t in waiting if t.depth > 1), key=lambda thread: -thread.depth)[:listed]
    oldest = sorted(waiting, key=lambda thread: thread.oldest)[:listed]
    held = [hold(thread, world.timeline.now) for thread in waiting if thread.holder]
    return ShardState(
        SHARD,
        depth=world.depth,
        threads=len(waiting),
        ready=len(world.ready),
        bound=len(held),
        deepest=[(thread.name, thread.depth) for thread in deepest],
        oldest=[lag(thread, world.timeline.now) for thread in oldest],
        held=held,
        registered=world.registered,
        settled=world.settled,
        busy_seconds=world.busy / SECOND,
        born=1,
    )


def lag(thread: Thread, now: int) -> TubeLag:
    return TubeLag(thread.name, 0, thread.depth, (now - thread.oldest) / SECOND)


def hold(thread: Thread, now: int) -> Hold:
    assert thread.holder
    owner, busy = f"{thread.holder.name}/simulated", (now - thread.held_since) / SECOND
    return Hold(thread.name, owner, thread.fence, busy, in_hand=thread.in_hand)
