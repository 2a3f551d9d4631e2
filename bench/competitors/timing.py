"""
What every script here shares: `python run_X.py PORT COUNT THREADS` registers, handles, and prints one line of JSON.

These files run in environments of their own, without this project: they import each other and nothing else of ours.
"""

import json
import sys
import time

TEXT = "a request of about fifty bytes, told"


def arguments() -> tuple[int, int, int]:
    port, count, threads = map(int, sys.argv[1:])
    return port, count, threads


class Clock:
    """Laps of wall-clock and CPU time."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.start()

    def start(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def lap(self) -> dict[str, float]:
        """Requests a second and CPU µs a request since the start or the last lap."""
        seconds, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        self.start()
        return {"rate": self.count / seconds, "cpu_us": cpu / self.count * 1e6}


def report(registered: dict[str, float], handled: dict[str, float]) -> None:
    print(json.dumps({"register": registered, "handle": handled}))
