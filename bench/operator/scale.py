"""How much of everything: a full run for the page, a quick one to see where a change leads."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    firsts: int = 100
    """First requests of which nothing runs but the operator."""
    journeys: int = 20
    """First requests that a new pod handles."""
    resources: int = 1000
    rest_seconds: float = 60.0
    polls: int = 10
    """Polls whose round trips are counted."""
    rounds: int = 2
    """Drains of each workload by each side, in turns."""


FULL = Scale()
QUICK = Scale(firsts=20, journeys=4, resources=100, rest_seconds=10.0, polls=5, rounds=1)
