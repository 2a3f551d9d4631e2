"""
One history, one checker.

Workers append a line to a file of their own for every request whose work is done, at once and unbuffered: a `kill -9`
loses nothing of it. The times are those of the machine's monotonic clock, which all its processes share.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple


class Done(NamedTuple):
    """A request whose work is done. *number* is its place in its thread's order of registration, from 0."""

    at_ns: int
    thread: str
    number: int
    fence: int
    worker: str

    @classmethod
    def of(cls, line: str) -> "Done":
        """What a worker wrote down."""
        at_ns, thread, number, fence, worker = line.split()
        return cls(int(at_ns), thread, int(number), int(fence), worker)


class Recorder:
    """Appends to the history of one worker."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._worker = worker
        self._file = os.open(folder / f"{worker}.history", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def done(self, thread: str, number: int, fence: int) -> None:
        line = f"{time.monotonic_ns()} {thread} {number} {fence} {self._worker}\n"
        os.write(self._file, line.encode())


def read(folder: Path) -> list[Done]:
    """The histories of all workers as one, in the order of time; a last line that was cut short does not count."""
    events = []
    for path in folder.glob("*.history"):
        lines = path.read_text().splitlines(keepends=True)
        events += [Done.of(line) for line in lines if line.endswith("\n")]
    return sorted(events)


def replays(history: Iterable[Done]) -> int:
    """How many requests were done more than once, each repetition counted."""
    places = [(done.thread, done.number) for done in history]
    return len(places) - len(set(places))


def faults(registered: Mapping[str, int], history: Sequence[Done], batch_size: int) -> list[str]:
    """
    What is wrong with a history, a sentence each; *registered* tells how many requests each thread got.

    Lost: never done. Reordered: first done before one that was registered earlier. A replay must be contiguous and of
    one batch at most: a bind goes on from the first request that was not settled, and a worker that was overtaken ends
    the batch it has in its hands and begins no other.
    """
    found = []
    by_thread: dict[str, list[Done]] = {thread: [] for thread in registered}
    for done in sorted(history):
        if done.number >= registered.get(done.thread, 0):
            found.append(f"{done.thread}/{done.number} was done and never registered")
        else:
            by_thread[done.thread].append(done)
    for thread, events in by_thread.items():
        found += _lost(thread, registered[thread], events)
        found += _reordered(thread, events)
        found += _wrong_binds(thread, events, batch_size)
    return found


def _lost(thread: str, registered: int, events: Sequence[Done]) -> Iterator[str]:
    if missing := sorted(set(range(registered)) - {done.number for done in events}):
        yield f"{len(missing)} of {registered} requests of {thread} are lost, {missing[0]} first"


def _reordered(thread: str, events: Sequence[Done]) -> Iterator[str]:
    highest = -1
    for done in events:
        if done.number > highest + 1:
            yield f"{thread}/{done.number} was done before {thread}/{highest + 1} by {done.worker}"
        highest = max(highest, done.number)


def _wrong_binds(thread: str, events: Sequence[Done], batch_size: int) -> Iterator[str]:
    by_fence = sorted(events, key=lambda done: (done.fence, done.at_ns))
    binds = [list(group) for _, group in groupby(by_fence, key=lambda done: done.fence)]
    reached = -1
    for place, bind in enumerate(binds):
        numbers = [done.number for done in bind]
        fence, first = bind[0].fence, numbers[0]
        if len({done.worker for done in bind}) > 1:
            yield f"{thread}: fence {fence} was given to two workers"
        if numbers != list(range(first, first + len(numbers))):
            yield f"{thread}: the work done under fence {fence} is not contiguous: {numbers}"
        if reached - first + 1 > batch_size:
            yield f"{thread}: fence {fence} replays {reached - first + 1} requests, more than a batch of {batch_size}"
        overtaken_at = min((done.at_ns for later in binds[place + 1 :] for done in later), default=None)
        late = [done.number for done in bind if overtaken_at is not None and done.at_ns > overtaken_at]
        if len(late) > batch_size:
            yield f"{thread}: fence {fence} did {len(late)} requests after it was overtaken, more than a batch"
        reached = max(reached, *numbers)
