"""Waiting for a state of an object: what the error tells. The watch is any program that prints events."""

import json
import os
import sys

import pytest

from tools.cluster.watch import Object, wait_until

pytestmark = pytest.mark.slow


def printing(*events: Object) -> list[str]:
    """A watch that ends after its events, as kubectl does when its time is over."""
    return [sys.executable, "-c", "import sys; print(*sys.argv[1:], sep=chr(10))", *map(json.dumps, events)]


def event(colour: str) -> Object:
    return {"type": "MODIFIED", "object": {"data": {"colour": colour}}}


def is_red(state: Object) -> bool:
    return bool(state["data"]["colour"] == "red")


def test_the_first_state_that_holds_is_returned() -> None:
    watch = printing({"type": "ADDED", "object": {}}, event("green"), event("red"), event("blue"))

    assert wait_until(watch, dict(os.environ), is_red, seconds=60) == {"data": {"colour": "red"}}


def test_the_error_tells_what_was_seen_last() -> None:
    with pytest.raises(TimeoutError, match="blue"):
        wait_until(printing(event("green"), event("blue")), dict(os.environ), is_red, seconds=60)


def test_a_watch_that_says_nothing_is_ended() -> None:
    with pytest.raises(TimeoutError, match=r"not after [\d.]+ s: sleep 3600\nnever seen"):
        wait_until(["sleep", "3600"], dict(os.environ), is_red, seconds=0.1)
