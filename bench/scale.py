"""Sizes of a run: a full one for the report, a quick one to see the effect of a change."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    rounds: int = 10
    """Number of rounds in which each pair is measured in turns."""
    requests: int = 50_000
    """Number of requests in one run of handling or registering."""
    small_threads: int = 10_000
    """Number of threads with one request each."""
    waiting: tuple[int, ...] = (100, 100_000, 1_000_000)
    """Numbers of threads that wait while one is bound."""
    binds: int = 400
    wakes: int = 1000
    """Number of hand-overs of each kind to an idle worker."""
    idle_seconds: float = 12.0
    starts: int = 15
    """Number of worker processes that are started, in turns with what they are compared to."""
    waits_for_leases: bool = True
    """Whether to kill a worker and wait for the end of its lease: 15 seconds."""
    competitors: bool = True
    """Whether other queues are measured, if they are not asked for by name."""
    others_rounds: int = 3
    others_share: int = 1
    """The requests of other queues' runs are divided by this."""
    handovers: int = 100
    """Number of hand-overs to each other queue's worker in a round."""
    ordered: int = 300
    """Number of jobs of one group."""
    patience: float = 90.0
    """Seconds until a job that a killed worker had is given up."""


FULL = Scale()
QUICK = Scale(
    rounds=3,
    requests=30_000,
    small_threads=5_000,
    waiting=(100, 10_000),
    binds=200,
    wakes=200,
    idle_seconds=8.0,
    starts=5,
    waits_for_leases=False,
    competitors=False,
    others_rounds=1,
    others_share=20,
    handovers=20,
    ordered=60,
    patience=20.0,
)
