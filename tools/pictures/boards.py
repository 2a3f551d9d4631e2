"""The panels and queries of a dashboard, read from the JSON that Grafana loads."""

import json
import re
from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, NamedTuple


class Target(NamedTuple):
    """A query of a panel. *is_instant*: it asks for the values at one moment, not over time."""

    expr: str
    legend: str
    letter: str
    is_instant: bool


class Panel(NamedTuple):
    """*place*: x, y, width and height in Grafana's grid of 24 columns."""

    kind: str
    title: str
    place: tuple[int, int, int, int]
    targets: tuple[Target, ...]
    body: Mapping[str, Any]

    @property
    def unit(self) -> str:
        return str(self.defaults.get("unit", "short"))

    @property
    def defaults(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.body.get("fieldConfig", {}).get("defaults", {})
        return found

    @property
    def options(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.body.get("options", {})
        return found


class Board:
    def __init__(self, text: str) -> None:
        self.body = json.loads(text)
        self.title: str = self.body["title"]
        self.description: str = self.body["description"]
        self.panels = [panel_of(body) for body in self.body["panels"]]

    def top(self, rows: int) -> "Board":
        """The same dashboard with its first rows only."""
        board = copy(self)
        heads = [place for place, panel in enumerate(self.panels) if panel.kind == "row"]
        board.panels = self.panels[: heads[rows]]
        return board

    @property
    def targets(self) -> Iterator[Target]:
        return (target for panel in self.panels for target in panel.targets)

    @property
    def lists(self) -> dict[str, str]:
        """The queries of the variables that offer label values, by the variable's name."""
        variables = self.body["templating"]["list"]
        return {each["name"]: query_of(each) for each in variables if each["type"] == "query"}


def panel_of(body: Mapping[str, Any]) -> Panel:
    place = tuple(body["gridPos"][side] for side in ("x", "y", "w", "h"))
    targets = tuple(
        Target(each["expr"], each["legendFormat"], each["refId"], bool(each.get("instant")))
        for each in body.get("targets", [])
    )
    return Panel(body["type"], body["title"], place, targets, body)


def query_of(variable: Mapping[str, Any]) -> str:
    query = variable["query"]
    return str(query if isinstance(query, str) else query["query"])


def filled(expr: str, chosen: Mapping[str, str], rate_interval: str) -> str:
    """A query as Grafana would send it."""
    values = {**chosen, "__rate_interval": rate_interval}
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expr)
