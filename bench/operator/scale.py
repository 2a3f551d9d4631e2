"""Sizes of a run: a full one for the page, a quick one to see the effect of a change."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    firsts: int = 100
    """Number of first requests for which only the operator runs."""
    journeys: int = 20
    """Number of first requests that a new pod handles."""
    resources: int = 1000
    replicas: int = 0
    """Pods of each of these resources; no node takes them."""
    rest_seconds: float = 60.0
    polls: int = 10
    """Number of polls whose round trips are counted."""
    rounds: int = 2
    """Number of drains of each workload by each side, in turns."""


FULL = Scale()
QUICK = Scale(firsts=20, journeys=4, resources=100, rest_seconds=10.0, polls=5, rounds=1)
