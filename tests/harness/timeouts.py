"""A bound for what cleans up after a test, which pytest-timeout leaves without one once the test failed."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pytest_timeout import Settings


@contextmanager
def each_wait_ends(item: pytest.Item) -> Iterator[None]:
    """Each wait may take as long as a test: a fixture may wait in vain after another one did."""
    seconds = float(item.config.getvalue("timeout") or item.config.getini("timeout") or 0)
    item.ihook.pytest_timeout_cancel_timer(item=item)  # or that of the thread method would end the process later
    bound = Settings(seconds, "signal", func_only=False, disable_debugger_detection=False)
    item.ihook.pytest_timeout_set_timer(item=item, settings=bound)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        item.ihook.pytest_timeout_cancel_timer(item=item)
