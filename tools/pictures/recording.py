"""What the queries of all dashboards returned, in a form small enough to keep in the repository."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tools.pictures.boards import Target

DIGITS = 4
"""Significant digits of a value that are kept; no picture shows more."""


class Series(NamedTuple):
    """*values*: one for each step of the recording, None where there was none. An instant query has a single one."""

    labels: Mapping[str, str]
    values: Sequence[float | None]

    @property
    def last(self) -> float | None:
        return next((value for value in reversed(self.values) if value is not None), None)


class Recording:
    """Answers by query, in the form that the query has in the dashboard. Times are seconds since 1970."""

    def __init__(self, begin: int, end: int, step: int) -> None:
        self.begin, self.end, self.step = begin, end, step
        self.answers: dict[str, dict[str, list[Series]]] = {"over": {}, "now": {}}
        """Of ranges, and of the instant *end*."""

    @property
    def moments(self) -> Sequence[int]:
        return range(self.begin, self.end + 1, self.step)

    def keep(self, target: Target, answer: Sequence[Mapping[str, Any]]) -> None:
        """The `result` that Prometheus answered."""
        self.answers[kind_of(target)][target.expr] = [self.series(each) for each in answer]

    def series(self, answered: Mapping[str, Any]) -> Series:
        if "value" in answered:
            return Series(answered["metric"], [number(answered["value"][1])])
        there = {round(at): shortened(number(text)) for at, text in answered["values"]}
        return Series(answered["metric"], [there.get(moment) for moment in self.moments])

    def __getitem__(self, target: Target) -> list[Series]:
        kept = self.answers[kind_of(target)]
        if target.expr not in kept:
            raise LookupError(f"the recorded run has no answer to this query; type: make pictures\n{target.expr}")
        return kept[target.expr]

    def written(self) -> str:
        """JSON with one line per series, so that a diff shows what a new recording changes."""
        head = {"begin": self.begin, "end": self.end, "step": self.step}
        kinds = (
            json.dumps(kind) + ": {\n" + ",\n".join(map(spelled, kept.items())) + "}"
            for kind, kept in self.answers.items()
        )
        return json.dumps(head)[:-1] + ', "answers": {' + ", ".join(kinds) + "}}\n"

    @staticmethod
    def read(text: str) -> "Recording":
        body = json.loads(text)
        recording = Recording(body["begin"], body["end"], body["step"])
        for kind, kept in body["answers"].items():
            recording.answers[kind] = {expr: [unpacked(each) for each in found] for expr, found in kept.items()}
        return recording


def kind_of(target: Target) -> str:
    return "now" if target.is_instant else "over"


def spelled(answer: tuple[str, Sequence[Series]]) -> str:
    expr, found = answer
    rows = (json.dumps(packed(each), separators=(",", ":")) for each in found)
    return json.dumps(expr) + ": [\n" + ",\n".join(rows) + "\n]"


def packed(series: Series) -> list[Any]:
    """Values with repetitions counted: `[value, times]` for a value that comes several times in a row."""
    runs: list[list[Any]] = []
    for value in series.values:
        if runs and runs[-1][0] == value:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
    return [series.labels, [value if times == 1 else [value, times] for value, times in runs]]


def unpacked(packed: Sequence[Any]) -> Series:
    labels, runs = packed
    pairs = [run if isinstance(run, list) else [run, 1] for run in runs]
    return Series(labels, [value for value, times in pairs for _ in range(times)])


def number(text: str) -> float | None:
    """None for a value that is not a number, such as 0/0."""
    value = float(text)
    return value if math.isfinite(value) else None


def shortened(value: float | None) -> float | None:
    if value is None:
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() else short
