"""One workload under one rule, and its outcome."""

from dataclasses import dataclass
from typing import Protocol

from bench.simulation.timeline import SECOND, Timeline, us
from bench.simulation.workloads import Workload
from bench.simulation.world import MEASURED, Costs, World

LONGEST = us(3_600)


class Rule(Protocol):
    def attend(self, world: World) -> None:
        """Read *world* whenever the rule would, and scale it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    *drain*: seconds from the first request (the first single one, where the others never end) to the last one handled.
    *pod_seconds*: up to then, or over the whole span of a queue that never drains; *to_zero*: until no pod is left.
    *rise*: from the first worker's first look for threads until the pods are as many as they ever are. *served*: until
    all threads of the first registration were in a worker's hands. *cut*: requests that were begun in vain.
    """

    drain: float
    pod_seconds: float
    to_zero: float
    most: int
    writes: int
    rise: float
    served: float
    cut: int
    replicas: tuple[tuple[int, int], ...]

    @property
    def product(self) -> float:
        return self.drain * self.pod_seconds

    @property
    def product_to_zero(self) -> float:
        return self.drain * self.to_zero


def simulated(workload: Workload, rule: Rule, costs: Costs = MEASURED) -> Outcome:
    """
    Raises:
        TimeoutError: the queue did not drain within an hour, or its pods stayed.
    """
    world = World(Timeline(), workload.costs(costs))
    rule.attend(world)
    workload.begin(world)
    if workload.span is not None:
        return watched(world, workload, us(workload.span))
    world.timeline.run(LONGEST, lambda: world.depth == 0)
    drained = world.timeline.now
    world.timeline.run(LONGEST, lambda: not world.pods and world.wanted == 0)
    if world.pods or world.depth:
        raise TimeoutError(f"{workload.title}: {world.depth} requests and {len(world.pods)} pods after an hour")
    return outcome(world, drained, drained, world.timeline.now)


def watched(world: World, workload: Workload, span: int) -> Outcome:
    """Up to the end of the span. Singles that are not handled by then count as handled at its end."""
    world.timeline.run(span)
    ends = [span if t.drained_at is None else t.drained_at for t in world.threads.values() if not t.refill]
    return outcome(world, max(ends) - us(workload.counts_from), span, span)


def outcome(world: World, drain: int, end: int, zero: int) -> Outcome:
    most = max(count for _, count in world.replicas)
    risen = next(at for at, count in world.replicas if count == most)
    first = [thread for thread in world.threads.values() if thread.registered_at == 0]
    return Outcome(
        drain=drain / SECOND,
        pod_seconds=world.pod_seconds(end),
        to_zero=world.pod_seconds(zero),
        most=most,
        writes=world.writes,
        rise=max(0, risen - world.first_up_at) / SECOND,
        served=max(end if thread.bound_at is None else thread.bound_at for thread in first) / SECOND,
        cut=world.cut,
        replicas=tuple(world.replicas),
    )
