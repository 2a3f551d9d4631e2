"""
Work that goes on: steady, in waves, over a day, and by the clock, for workers with one lane and with ten.

Such a queue never drains for good. What counts is how long requests wait, what the pods cost, how often their number is
written, and how many requests a scale-down cuts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import pi, sin
from random import Random
from statistics import mean

from bench.simulation import hpa
from bench.simulation.lanes import Lanes
from bench.simulation.run import Rule
from bench.simulation.timeline import Timeline, us
from bench.simulation.world import MEASURED, World
from sharded_queue_operator.scaling.policy import Policy

PODS = 20
PHASES = (0.2, 0.7)
SPAN = 900.0
THREADS = 500
LONG_SECONDS = 60.0
"""A request of the cron job takes longer than the grace of a pod that is stopped."""


@dataclass(frozen=True, slots=True)
class OpenWorkload:
    """*rate*: requests a second at a moment, for one lane a pod; *request*: seconds in the handler."""

    name: str
    title: str
    request: float
    begin: Callable[[World, float], None]
    """With the number of lanes, as ten lanes get ten times the work."""


def at_random(rate: Callable[[float], float], peak: float) -> Callable[[World, float], None]:
    """Single requests at random moments, in random threads: as many of a *peak* as the *rate* of the moment allows."""

    def begin(world: World, lanes: float) -> None:
        chance = Random(7)

        def come() -> None:
            if chance.random() * peak < rate(world.timeline.seconds):
                world.register({f"t{chance.randrange(THREADS)}": 1})
            world.timeline.after(us(chance.expovariate(peak * lanes)), come)

        come()

    return begin


def each(seconds: float, threads: int) -> Callable[[World, float], None]:
    """A request in each of so many threads of its own, again and again."""

    def begin(world: World, lanes: float) -> None:
        def come() -> None:
            now = world.timeline.seconds
            world.register({f"{now:.0f}-{number}": 1 for number in range(round(threads * lanes))})
            world.timeline.after(us(seconds), come)

        come()

    return begin


OPEN_WORKLOADS = (
    OpenWorkload("steady", "steady: 25 a second", 0.2, at_random(lambda _: 25.0, 25.0)),
    OpenWorkload(
        "sawtooth", "sawtooth: 0 to 50 a second each minute", 0.2, at_random(lambda s: s % 60 / 60 * 50, 50.0)
    ),
    OpenWorkload(
        "daily", "daily: 0 to 50 a second and back", 0.2, at_random(lambda s: 25 - 25 * sin(s / SPAN * 2 * pi), 50.0)
    ),
    OpenWorkload("cron", "cron: 12 requests of a minute each 150 s", LONG_SECONDS, each(150.0, 12)),
)


@dataclass(frozen=True, slots=True)
class OpenScore:
    """Means over the phases; *wait*: seconds until requests were handled, of 100 the middle one and the 99th."""

    wait: float
    longest: float
    most: float
    pod_seconds: float
    writes: float
    cut: float


def rules(lanes: int, phase: float) -> dict[str, Rule]:
    fast = hpa.Settings(max_replicas=PODS, polling_seconds=1, cooldown_seconds=60, stabilization_seconds=60)
    return {
        "lanes": Lanes(Policy(max_replicas=PODS, threads_per_replica=lanes), phase=phase),
        "messages, KEDA's defaults": hpa.MessageCount(hpa.Settings(max_replicas=PODS), phase),
        "messages, as fast as ours": hpa.MessageCount(fast, phase),
    }


def scored(workload: OpenWorkload, lanes: int, name: str) -> OpenScore:
    found = [_outcome(workload, lanes, rules(lanes, phase)[name]) for phase in PHASES]
    return OpenScore(*(mean(values) for values in zip(*found, strict=True)))


def _outcome(workload: OpenWorkload, lanes: int, rule: Rule) -> Sequence[float]:
    world = World(Timeline(), replace(MEASURED, request=workload.request), lanes)
    rule.attend(world)
    workload.begin(world, lanes)
    world.timeline.run(us(SPAN))
    most = max(count for _, count in world.replicas)
    return (*_percentiles(world.lags), most, world.pod_seconds(us(SPAN)), world.writes, world.cut)


def _percentiles(lags: Sequence[tuple[float, int]]) -> tuple[float, float]:
    waits = sorted(seconds for seconds, count in lags for _ in range(count))
    return waits[len(waits) // 2], waits[len(waits) * 99 // 100]
