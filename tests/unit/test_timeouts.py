"""A test that hangs ends, be it in its call or in what cleans up after it."""

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from tests.conftest import pytest_runtest_teardown
"""
FILE = """
import asyncio, signal
import pytest

def wait_for_ever():
    while True:
        signal.pause()

@pytest.fixture
def hangs():
    yield
    wait_for_ever()

@pytest.fixture
def hangs_too(hangs):
    yield
    wait_for_ever()

def test_failure(hangs_too):
    assert False

def test_timeout(hangs_too):
    wait_for_ever()

async def test_task():
    async def stubborn():
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    assert task.done()

def test_next():
    pass
"""


@pytest.mark.slow
def test_clean_up_that_hangs_after_a_failure_ends(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(pytestconfig.rootpath))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(FILE)
    pytester.makeini("[pytest]\nasyncio_mode = auto\n")
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "--timeout", "0.3", timeout=60)
    result.assert_outcomes(failed=3, passed=1, errors=3)


@pytest.mark.slow
def test_no_timer_outlives_its_test(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    """One of a thread would end the process in the middle of another test."""
    monkeypatch.setenv("PYTHONPATH", str(pytestconfig.rootpath))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("import threading\ndef test_one(): ...\ndef test_two(): assert len(threading.enumerate()) == 2")
    words = ("-q", "-p", "no:cacheprovider", "--timeout", "30", "--timeout-method", "thread")
    pytester.runpytest_subprocess(*words, timeout=60).assert_outcomes(passed=2)
