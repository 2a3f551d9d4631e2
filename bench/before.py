"""
What the figures were when the targets of speed were set: as the pages had them on 2026-11-26, at commit 2772178.

That machine was about twice as fast as most that measured since, so compare ratios and counts rather than rates.
Figures that the pages did not have then were measured with the code of that day.
"""

from dataclasses import replace

from bench.figure import Figure

BEFORE = {
    "handle, 1 thread: to bare LRANGE+LTRIM": "0.67 ×",
    "handle, 10 threads: to bare LRANGE+LTRIM": "1.43 ×",
    "handle, 100 threads: to bare LRANGE+LTRIM": "1.65 ×",
    "CPU of the worker per request, one thread": "1.15 µs",
    "Redis calls a request, batch 128, one thread": "0.0079",
    "10,000 threads × 1 request: to one thread": "0.0668 ×",
    "10,000 threads × 1 request: Redis calls a request": "0.073",
    "… with the defaults: rate": "3,000 /s",
    "… with the defaults: commands a request": "38",
    "register in bulk, 1 thread: to bare RPUSH": "0.75 ×",
    "register in bulk, 100 threads: to bare RPUSH": "0.78 ×",
    "bind, 100 / 100,000 / 1,000,000 threads waiting: slowest to fastest": "1 ×",
    "Redis memory of a waiting thread of one request": "585 bytes",
    "wake an idle worker for a drained thread: p50 to BLPOP": "3.21 ×",
    "wake an idle worker for a drained thread: p99 to BLPOP": "2.72 ×",
    "wake an idle worker for a new thread: p50 to BLPOP": "2.97 ×",
    "wake an idle worker for a new thread: p99 to BLPOP": "2.65 ×",
    "Redis memory a request, 1 thread: to bare lists": "1.27 ×",
    "Redis memory a request, 100 threads: to bare lists": "1.25 ×",
    "Redis memory a request, 5,000 threads: to bare lists": "1.8 ×",
    "commands a second of an idle worker": "0.75 /s",
    "CPU time of a worker from exec to its first look for threads": "0.54 s",
    "… round trips before that look": "9",
    "kill -9 → its thread handled elsewhere": "12 s",
    "first request → Deployment patched, p50": "11.7 ms",
    "first request → Deployment patched, p99": "33.6 ms",
    "first request → handled by a new pod, p50": "0.74 s",
    "RSS of the operator": "121 MiB",
    "duration of a poll, as a share of its period": "0.19",
    "CPU of the operator at rest": "0.31 cores",
    "round trips to Redis a poll": "0.91",
}


def with_before(figure: Figure) -> Figure:
    """The figure, with what it was before, if that is known and it does not say so itself."""
    return figure if figure.before else replace(figure, before=BEFORE.get(figure.name.strip(), ""))
