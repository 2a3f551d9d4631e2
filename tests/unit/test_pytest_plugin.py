"""The plugin of pytest, as it is installed: in a pytest of its own, with the loops that users have."""

import pytest

pytestmark = pytest.mark.slow

pytest_plugins = ["pytester"]

HANDLER = """
import os
import sys

import pytest

from sharded_queue import Handler

class Mail(Handler):
    sent = []

    async def perform(self, *addresses: str) -> None:
        self.sent.extend(addresses)
"""

ASYNC_TESTS = """
async def test_it_handles(sandbox):
    await sandbox.queue.register(Mail, "a@example.org")
    assert await sandbox.run() == 1
    assert Mail.sent == ["a@example.org"]

async def test_each_test_has_its_own(sandbox):
    assert sandbox.registered(Mail) == []
"""

SYNC_TESTS = """
import asyncio

def test_it_handles(sandbox):
    asyncio.run(sandbox.queue.register(Mail, "a@example.org"))
    assert asyncio.run(sandbox.run()) == 1
    assert Mail.sent == ["a@example.org"]
"""


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-W", "error", *options)


@pytest.mark.parametrize(
    ("tests", "options", "passed"),
    [
        (ASYNC_TESTS, ("-o", "asyncio_mode=auto"), 2),
        ("pytestmark = pytest.mark.asyncio\n" + ASYNC_TESTS, ("-o", "asyncio_mode=strict"), 2),
        (
            "pytestmark = pytest.mark.anyio\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n" + ASYNC_TESTS,
            ("-p", "no:asyncio"),
            2,
        ),
        (SYNC_TESTS, ("-p", "no:asyncio", "-p", "no:anyio"), 1),
    ],
    ids=["asyncio-auto", "asyncio-strict", "anyio", "sync"],
)
def test_the_sandbox_is_a_fixture(pytester: pytest.Pytester, tests: str, options: tuple[str, ...], passed: int) -> None:
    pytester.makepyfile(HANDLER + tests)

    run(pytester, *options).assert_outcomes(passed=passed)


def test_nothing_is_imported_before_a_test_asks_and_redis_never(pytester: pytest.Pytester) -> None:
    """A conftest.py may still set the environment, and coverage sees the library from its first line on."""
    pytester.makeconftest("""
import os
import sys

def pytest_configure():
    assert "sharded_queue_pytest" in sys.modules
    assert "sharded_queue" not in sys.modules
    os.environ["QUEUE_WORKER_BATCH_SIZE"] = "7"
""")
    pytester.makepyfile("""
import sys

def test_it(sandbox):
    from sharded_queue import settings

    assert settings.worker_batch_size == 7
    assert "redis" not in sys.modules
""")

    run(pytester).assert_outcomes(passed=1)


def test_a_fixture_of_the_user_takes_its_place(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
import pytest

@pytest.fixture
def sandbox():
    return "mine"
""")
    pytester.makepyfile("def test_it(sandbox): assert sandbox == 'mine'")

    run(pytester).assert_outcomes(passed=1)
