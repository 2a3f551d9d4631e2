"""What persons had done: each action as it goes, kept in memory for its page."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sharded_queue.printable import counted

MOST_JOBS = 200
MOST_LEFT = 20
"""Reasons for what was not done that a page lists."""


@dataclass
class Job:
    """An action under way, or done. *noun* is what *total* counts."""

    number: int
    title: str
    person: str
    back: str
    """Where the person came from."""
    noun: str = ""
    total: int = 0
    done: Sequence[int] = ()
    left: dict[str, str] = field(default_factory=dict)
    result: str = ""
    error: str = ""
    unwritten: str = ""
    """Why the audit log does not have what became of it."""
    began: float = field(default_factory=time.time)

    @property
    def is_over(self) -> bool:
        return bool(self.result or self.error)

    @property
    def sentence(self) -> str:
        if self.error:
            return f"Not done: {self.error}"
        if self.result:
            return self.result
        return f"{len(self.done):,} of {counted(self.total, self.noun)}" if self.total else "Under way"


class Jobs:
    def __init__(self) -> None:
        self.by_number: dict[int, Job] = {}
        self._numbers = itertools.count(1)

    def start(self, title: str, person: str, back: str) -> Job:
        job = Job(next(self._numbers), title, person, back)
        self.by_number[job.number] = job
        while len(self.by_number) > MOST_JOBS:
            del self.by_number[next(iter(self.by_number))]
        return job
