"""All workloads under all rules: the means over the phases of their periods."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from bench.simulation import hpa
from bench.simulation.lanes import Lanes
from bench.simulation.run import Outcome, Rule, simulated
from bench.simulation.workloads import Workload
from bench.simulation.world import MEASURED, Costs
from sharded_queue_operator.scaling.policy import Policy

PODS = 20
PHASES = [(number + 0.5) / 15 for number in range(15)]
"""The first request may come at any moment between two polls, so figures are means over these phases."""

MIDDLE = PHASES[7]


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    rule: Callable[[float], Rule]
    """Makes the rule for a phase of its periods."""


def rival(name: str, settings: hpa.Settings) -> Contender:
    return Contender(name, lambda phase: hpa.MessageCount(settings, phase))


OURS = Contender("lanes", lambda phase: Lanes(Policy(max_replicas=PODS, threads_per_replica=1), phase=phase))
RIVALS = (
    rival("messages, KEDA's defaults", hpa.Settings(max_replicas=PODS)),
    rival(
        "messages, as fast as ours",
        hpa.Settings(max_replicas=PODS, polling_seconds=1, cooldown_seconds=60, stabilization_seconds=60),
    ),
    rival(
        "messages, as fast, in one step",
        hpa.Settings(
            max_replicas=PODS, polling_seconds=1, cooldown_seconds=60, stabilization_seconds=60, is_stepwise=False
        ),
    ),
)
CONTENDERS = (OURS, *RIVALS)


@dataclass(frozen=True, slots=True)
class Score:
    """Means over all phases."""

    drain: float
    most: float
    writes: float
    rise: float
    served: float
    pod_seconds: float
    to_zero: float
    product: float
    product_to_zero: float
    cut: float

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> "Score":
        return cls(*(mean(getattr(outcome, name) for outcome in outcomes) for name in cls.__slots__))


def scored(workload: Workload, contender: Contender, costs: Costs = MEASURED) -> Score:
    return Score.of([simulated(workload, contender.rule(phase), costs) for phase in PHASES])
