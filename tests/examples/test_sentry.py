"""Failed tries in Sentry: its real SDK, and a transport that keeps the events."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "sentry_events.py"


def events(kind: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, str(PROGRAM), kind], capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_failed_try_is_one_event_with_its_tags() -> None:
    found = events("failing")

    assert [event["tags"]["attempt"] for event in found] == [1, 2, 3]
    for event in found:
        assert event["exception"]["values"][-1]["value"] == "a payment of -5 cents"
        assert (event["tags"]["handler"], event["tags"]["thread"]) == ("payments.PaymentHandler", "7")
        assert event["tags"]["priority"] == 0
    fences = [event["tags"]["fence"] for event in found]
    assert fences == sorted(set(fences))


@pytest.mark.parametrize("kind", ["overtaken", "refused"])
def test_a_lost_lease_is_no_event(kind: str) -> None:
    assert events(kind) == []
