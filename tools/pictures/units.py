"""Values in the units that the dashboards name, formatted for people."""

from datetime import UTC, datetime

RATES = {"ops": "ops/s", "reqps": "req/s", "cps": "/s"}


def spelled(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "s":
        return seconds(value)
    if unit == "dateTimeAsIso":
        return clock(value / 1000)
    return f"{short(value)} {RATES[unit]}" if unit in RATES else short(value)


def seconds(value: float) -> str:
    if value == 0:
        return "0 s"
    for bound, scale, name in ((0.001, 1e-6, "µs"), (1, 0.001, "ms"), (120, 1, "s"), (7200, 60, "min")):
        if abs(value) < bound:
            return f"{short(value / scale)} {name}"
    return f"{short(value / 3600)} h"


def short(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value / 1000:.3g} k"
    return f"{value:.3g}"


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
