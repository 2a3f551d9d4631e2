"""One line of the table: what was measured, and what was to be reached."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """*bound* None: there is no target, the figure is told for what it says about another one."""

    name: str
    measured: float
    unit: str
    note: str = ""
    bound: float | None = None
    sense: Literal["≥", "≤", "<"] = "≥"

    @property
    def is_met(self) -> bool | None:
        """Whether the target was reached, None without a target; judged as shown, so that the table agrees with it."""
        if self.bound is None:
            return None
        shown = float(number(self.measured).replace(",", ""))
        return {"≥": shown >= self.bound, "≤": shown <= self.bound, "<": shown < self.bound}[self.sense]

    @property
    def verdict(self) -> str:
        return {None: "", True: "met", False: "NOT met"}[self.is_met]

    @property
    def target(self) -> str:
        return "" if self.bound is None else f"{self.sense} {number(self.bound)}{self.suffix}"

    @property
    def value(self) -> str:
        return f"{number(self.measured)}{self.suffix}"

    @property
    def suffix(self) -> str:
        return f" {self.unit}" if self.unit else ""


def number(value: float) -> str:
    """Three digits that count, and no more."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.{2 if abs(value) >= 0.1 else 4}f}".rstrip("0").rstrip(".")
