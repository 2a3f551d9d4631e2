"""Pods over time, with one panel for each workload."""

from collections.abc import Sequence
from html import escape

from bench.environments import ROOT
from bench.plot import OTHER, OURS
from bench.simulation.compare import CONTENDERS, MIDDLE, PODS
from bench.simulation.run import Outcome, simulated
from bench.simulation.timeline import SECOND
from bench.simulation.workloads import WORKLOADS, Workload
from tools.svg import WIDTH, page

PATH = ROOT / "docs" / "scaling.svg"
COLOURS = (OURS, OTHER, "#4477aa", "#c0562f")
SHOWN_SECONDS = 150
LEFT, TOP, TALL, STEP = 50, 34, 110, 5


def drawn() -> str:
    legend, height = legend_of(), 34
    parts = [legend]
    for workload in WORKLOADS:
        outcomes = [simulated(workload, contender.rule(MIDDLE)) for contender in CONTENDERS]
        parts.append(f'<g transform="translate(0 {height})">' + "\n".join(panel(workload, outcomes)) + "</g>")
        height += TOP + TALL + 30
    return page(parts, height)


def legend_of() -> str:
    lines = []
    for place, (contender, colour) in enumerate(zip(CONTENDERS, COLOURS, strict=True)):
        at = 10 + place * 240
        lines.append(f'<line x1="{at}" y1="20" x2="{at + 24}" y2="20" stroke="{colour}" stroke-width="3"/>')
        lines.append(f'<text x="{at + 30}" y="24">{escape(contender.name)}</text>')
    return "\n".join(lines)


def x(seconds: float) -> float:
    return LEFT + min(seconds, SHOWN_SECONDS) / SHOWN_SECONDS * (WIDTH - LEFT - 30)


def y(pods: float) -> float:
    return TOP + TALL * (1 - pods / PODS)


def panel(workload: Workload, outcomes: Sequence[Outcome]) -> list[str]:
    lines = [f'<text class="t" x="10" y="20">{escape(workload.title)}</text>']
    for pods in range(0, PODS + 1, STEP):
        lines.append(f'<line x1="{LEFT}" y1="{y(pods)}" x2="{x(SHOWN_SECONDS)}" y2="{y(pods)}" stroke="#e4e4e4"/>')
        lines.append(f'<text class="n" x="{LEFT - 8}" y="{y(pods) + 4}" text-anchor="end">{pods}</text>')
    lines += [
        f'<text class="n" x="{x(seconds)}" y="{y(0) + 17}" text-anchor="middle">{seconds} s</text>'
        for seconds in range(0, SHOWN_SECONDS + 1, 30)
    ]
    for outcome, colour in reversed(list(zip(outcomes, COLOURS, strict=True))):
        drained = workload.counts_from + outcome.drain
        lines.append(f'<path d="{path(outcome)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if drained <= SHOWN_SECONDS:
            lines.append(f'<circle cx="{x(drained):.1f}" cy="{y(0)}" r="5" fill="{colour}"/>')
    return lines


def path(outcome: Outcome) -> str:
    begin, *rest = outcome.replicas
    words = [f"M{x(begin[0] / SECOND):.1f} {y(begin[1]):.1f}"]
    words += [f"H{x(at / SECOND):.1f}V{y(pods):.1f}" for at, pods in rest if at <= SHOWN_SECONDS * SECOND]
    return "".join(words) + f"H{x(SHOWN_SECONDS):.1f}"
