"""`python -m bench.simulation`: the decision beside message counts on five workloads; writes docs/scaling.md's part."""

from collections.abc import Sequence

from bench.environments import ROOT
from bench.figure import number
from bench.page import write_part
from bench.report import aligned, markdown
from bench.simulation import plot
from bench.simulation.compare import CONTENDERS, OURS, RIVALS, Score, scored
from bench.simulation.workloads import WORKLOADS
from bench.simulation.world import Costs

PAGE = ROOT / "docs" / "scaling.md"
HEAD = ("workload", "pods by", "drain s", "pods", "pod-s", "drain × pod-s", "× ours", "pod-s to zero", "× ours")
OTHER_HEAD = ("seconds a request", "seconds to start", *(workload.name for workload in WORKLOADS))
OTHER_COSTS = [Costs(request=request, start=start) for request in (0.005, 0.02, 0.1) for start in (1.0, 5.0)]


def rows() -> list[tuple[str, ...]]:
    found = []
    for workload in WORKLOADS:
        scores = {contender.name: scored(workload, contender) for contender in CONTENDERS}
        for name, score in scores.items():
            title = workload.title if name == OURS.name else ""
            found.append((title, name, *cells(score, scores[OURS.name])))
    return found


def cells(score: Score, ours: Score) -> Sequence[str]:
    values = [score.drain, score.most, score.pod_seconds, score.product, score.product / ours.product]
    return [number(value) for value in (*values, score.to_zero, score.product_to_zero / ours.product_to_zero)]


def other_rows() -> list[tuple[str, ...]]:
    return [(number(costs.request), number(costs.start), *margins(costs)) for costs in OTHER_COSTS]


def margins(costs: Costs) -> list[str]:
    """By how much the best of the rivals is behind: drain × pod-seconds, to the drain and to zero."""
    found = []
    for workload in WORKLOADS:
        ours = scored(workload, OURS, costs)
        others = [scored(workload, contender, costs) for contender in RIVALS]
        drained = min(other.product for other in others) / ours.product
        ended = min(other.product_to_zero for other in others) / ours.product_to_zero
        found.append(f"{number(drained)} / {number(ended)}")
    return found


def main() -> None:
    table, others = [HEAD, *rows()], [OTHER_HEAD, *other_rows()]
    print(aligned(table), aligned(others), sep="\n\n")
    write_part(PAGE, "five workloads", markdown(table))
    write_part(PAGE, "other speeds", markdown(others))
    plot.PATH.write_text(plot.drawn())
    print(f"\nwritten: {PAGE.relative_to(ROOT)}, {plot.PATH.relative_to(ROOT)}")


main()
