"""What the decision has to reach on each workload, beside what it was measured to reach."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from bench.figure import Figure, number
from bench.simulation.compare import OURS, RIVALS, Score
from bench.simulation.workloads import WORKLOADS

Scores = Mapping[str, Mapping[str, Score]]
"""By the name of the workload, and by the name of the contender."""


class Target(NamedTuple):
    """*before*: what the decision reached, measured in the same way, when the target was set; None: not measured."""

    workload: str
    name: str
    measured: Callable[[Any], float]
    unit: str
    bound: float
    before: float | None
    note: str = ""

    def figure(self, title: str, value: float) -> Figure:
        was = "" if self.before is None else f"{number(self.before)} {self.unit}".rstrip()
        return Figure(f"{title}: {self.name}", value, self.unit, self.note, self.bound, "≤", was)


TARGETS = (
    Target("flat-60", "drain", lambda score: score.drain, "s", 11, 11.0),
    Target("flat-60", "pod-seconds to the drain", lambda score: score.pod_seconds, "", 150, 143),
    Target("flat-10", "drain", lambda score: score.drain, "s", 6, 7.7),
    Target("flat-10", "pod-seconds to the drain", lambda score: score.pod_seconds, "", 30, 23),
    Target("fed", "all ten served", lambda score: score.served, "s", 5, 11.8, "since the first request"),
    Target("long", "1 → 20 pods", lambda score: score.rise, "s", 5, 11.9, "since the first worker's first poll"),
    Target("long", "drain", lambda score: score.drain, "s", 32, 37.6, "24 s of it are work for 20 pods"),
)


def figures(scores: Scores) -> Iterator[Figure]:
    titles = {workload.name: workload.title for workload in WORKLOADS}
    for target in TARGETS:
        yield target.figure(titles[target.workload], target.measured(scores[target.workload][OURS.name]))
    worst = max(titles, key=lambda workload: to_zero(scores[workload]) if workload != "fed" else 0.0)
    name = f"pod-seconds to zero, beside {RIVALS[1].name}"
    note = f"the worst of those that drain: {titles[worst]}"
    yield Figure(name, to_zero(scores[worst]), "×", note, 1, "≤", "1.87 ×")


def to_zero(scores: Mapping[str, Score]) -> float:
    """The pod-seconds until no pod is left, beside those of the rival with the same window."""
    return scores[OURS.name].to_zero / scores[RIVALS[1].name].to_zero
