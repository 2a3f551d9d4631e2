"""One line of the table: a measurement and its target."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """
    *bound* None: the figure has no target, and only explains another one. *before*: what it was when its target was
    set, as text, measured on another day and often on another machine; empty where it was not measured.
    """

    name: str
    measured: float
    unit: str
    note: str = ""
    bound: float | None = None
    sense: Literal["≥", "≤", "<"] = "≥"
    before: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without a target. It compares the value as shown in the table."""
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
    """Three significant digits."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.{2 if abs(value) >= 0.1 else 4}f}".rstrip("0").rstrip(".")
