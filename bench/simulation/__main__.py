"""`python -m bench.simulation`: the decision beside message counts; writes its parts of docs/scaling*.md."""

from collections.abc import Sequence

from bench.environments import ROOT
from bench.figure import number
from bench.page import write_part
from bench.report import HEAD as FIGURES_HEAD
from bench.report import aligned, figure_cells, markdown
from bench.simulation import plot
from bench.simulation.compare import CONTENDERS, OURS, RIVALS, Score, scored
from bench.simulation.open_workloads import OPEN_WORKLOADS, rules
from bench.simulation.open_workloads import scored as scored_open
from bench.simulation.targets import Scores, figures
from bench.simulation.workloads import WORKLOADS
from bench.simulation.world import Costs

PAGE = ROOT / "docs" / "scaling-in-depth.md"
SHORT_PAGE = ROOT / "docs" / "scaling.md"
HEAD = (
    "workload",
    "pods by",
    "drain s",
    "pods",
    "pod-s",
    "drain × pod-s",
    "× ours",
    "pod-s to zero",
    "× ours",
    "requests cut",
)
SCALED = [workload for workload in WORKLOADS if workload.request is None]
"""Those whose requests may take any time."""

EXPECTED_HEAD = ("workload", "pods", "drain s", "pod-s", "messages, the best rule", "messages, KEDA's defaults")
OPEN_HEAD = ("workload", "lanes", "pods by", "wait p50 s", "p99 s", "pods", "pod-s", "writes", "requests cut")
OTHER_HEAD = ("seconds a request", "seconds to start", *(workload.name for workload in SCALED))
OTHER_COSTS = [Costs(request=request, start=start) for request in (0.005, 0.02, 0.1) for start in (1.0, 5.0)]


def all_scores() -> Scores:
    return {
        workload.name: {contender.name: scored(workload, contender) for contender in CONTENDERS}
        for workload in WORKLOADS
    }


def rows(scores: Scores) -> list[tuple[str, ...]]:
    found = []
    for workload in WORKLOADS:
        for name, score in scores[workload.name].items():
            title = workload.title if name == OURS.name else ""
            found.append((title, name, *cells(score, scores[workload.name][OURS.name])))
    return found


def cells(score: Score, ours: Score) -> Sequence[str]:
    values = [score.drain, score.most, score.pod_seconds, score.product, score.product / ours.product]
    return [
        number(value) for value in (*values, score.to_zero, score.product_to_zero / ours.product_to_zero, score.cut)
    ]


def expected_rows(scores: Scores) -> list[tuple[str, ...]]:
    """Ours, and the products of drain and pod-seconds of the rivals as multiples of ours."""
    found = []
    for workload in WORKLOADS:
        ours, *others = scores[workload.name].values()
        times = [other.product / ours.product for other in others]
        values = (ours.most, ours.drain, ours.pod_seconds)
        found.append((workload.title, *map(number, values), f"{number(min(times))} ×", f"{number(times[0])} ×"))
    return found


def other_rows() -> list[tuple[str, ...]]:
    return [(number(costs.request), number(costs.start), *margins(costs)) for costs in OTHER_COSTS]


def margins(costs: Costs) -> list[str]:
    """By how much the best of the rivals is behind: drain × pod-seconds, to the drain and to zero."""
    found = []
    for workload in SCALED:
        ours = scored(workload, OURS, costs)
        others = [scored(workload, contender, costs) for contender in RIVALS]
        drained = min(other.product for other in others) / ours.product
        ended = min(other.product_to_zero for other in others) / ours.product_to_zero
        found.append(f"{number(drained)} / {number(ended)}")
    return found


def open_rows() -> list[tuple[str, ...]]:
    found = []
    for workload in OPEN_WORKLOADS:
        for lanes in (1, 10):
            for name in rules(lanes, 0.0):
                title = (workload.title, str(lanes)) if name == OURS.name else ("", "")
                score = scored_open(workload, lanes, name)
                values = (score.wait, score.longest, score.most, score.pod_seconds, score.writes, score.cut)
                found.append((*title, name, *map(number, values)))
    return found


def main() -> None:
    scores = all_scores()
    tables = {
        "workloads": [HEAD, *rows(scores)],
        "targets": [FIGURES_HEAD, *map(figure_cells, figures(scores))],
        "open workloads": [OPEN_HEAD, *open_rows()],
        "other speeds": [OTHER_HEAD, *other_rows()],
    }
    print(*map(aligned, tables.values()), sep="\n\n")
    for part, table in tables.items():
        write_part(PAGE, part, markdown(table))
    write_part(SHORT_PAGE, "expected", markdown([EXPECTED_HEAD, *expected_rows(scores)]))
    plot.PATH.write_text(plot.drawn())
    print(f"\nwritten: {PAGE.relative_to(ROOT)}, {SHORT_PAGE.relative_to(ROOT)}, {plot.PATH.relative_to(ROOT)}")


main()
