"""
The test of the tests: an engine that breaks a guarantee must be noticed.

A contract that passes whatever the engine does proves nothing. So each guarantee is taken away in a copy of the
package, and the contract tests that are there for it must fail on that copy, and pass on one that is whole.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.conftest import REDIS_BACKENDS
from tests.harness.requirements import require_redis
from tests.mutants import guard, one_of_each
from tests.mutants.launcher import Launcher, Run, launcher
from tests.mutants.mutant import Mutant
from tests.mutants.mutants import MUTANTS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "worker" / "sharded_queue"
FAST_BACKENDS = " and ".join(f"not {name}" for name in REDIS_BACKENDS if name != "redis")

TESTS = sorted({test for mutant in MUTANTS for test in mutant.tests})

pytestmark = pytest.mark.redis


def module_of(test: str) -> str:
    return test.partition("::")[0]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    require_redis()
    return Path(shutil.copytree(PACKAGE, tmp_path / PACKAGE.name))


@pytest.fixture(scope="session")
def pytests() -> Iterator[Launcher]:
    with launcher(ROOT) as runs:
        yield runs


SHORT_SECONDS, BROKEN_SECONDS, WHOLE_SECONDS = 3, 10, 30
"""For one test. Much of what a broken engine is asked for never comes, and a test then waits until the end."""

HUNG = re.compile(r"^~+ Stack of MainThread|Failed: Timeout", re.MULTILINE)


def run(pytests: Launcher, copy: Path, tests: Iterable[str], seconds: float, *options: str) -> tuple[int, str]:
    """Exit status and output of the named contract tests, on the copy; each test may take *seconds*."""
    path = [str(path) for path in (copy.parent, ROOT, os.environ.get("PYTHONPATH")) if path]
    environment = {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        guard.VARIABLE: str(copy),
    }
    options += ("-q", "-x", "-p", guard.__name__, "-p", "no:cacheprovider", "-k", FAST_BACKENDS)
    options += ("--timeout", str(seconds), "--timeout-method", "thread")  # it ends the process: a broken end may hang
    options += ("--basetemp", str(copy.parent / "inner"))
    arguments = [*options, *[f"tests/contract/{test}" for test in tests]]
    output = str(copy.parent / "output")
    return pytests.run(Run(arguments, path, environment, output), timeout=10 + 3 * max(seconds, BROKEN_SECONDS))


@contextmanager
def broken(copy: Path, mutant: Mutant) -> Iterator[None]:
    path = copy / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1, f"stale: {mutant.file} does not hold the text to replace exactly once"
    path.write_text(text.replace(mutant.old, mutant.new))
    yield
    path.write_text(text)


def run_broken(pytests: Launcher, copy: Path, mutant: Mutant) -> tuple[int, str]:
    """A short time is enough to call it hung only where the engine that is whole needs less than half of it."""
    with broken(copy, mutant):
        status, output = run(pytests, copy, mutant.tests, SHORT_SECONDS)
    if not HUNG.search(output):
        return status, output
    status_of_whole, _ = run(pytests, copy, mutant.tests, SHORT_SECONDS / 2)
    if status_of_whole != 0:
        with broken(copy, mutant):
            return run(pytests, copy, mutant.tests, BROKEN_SECONDS)
    return status, output


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "_"))
def test_a_broken_engine_is_caught(pytests: Launcher, copy: Path, mutant: Mutant) -> None:
    status, output = run_broken(pytests, copy, mutant)
    # 1 is "tests failed"; a test that is gone, or a package that cannot be imported, has another code.
    assert status == 1, output
    # An engine may hang as well, and what cleans up after its test.
    assert HUNG.search(output) or re.search(r"^1 failed\b(?!.*\berror)", output, re.MULTILINE), output


def test_a_slow_machine_does_not_make_an_engine_broken(
    pytests: Launcher, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs more than the short time for the engine that is whole as well."""
    monkeypatch.setitem(globals(), "SHORT_SECONDS", 0.02)
    status, output = run_broken(pytests, copy, MUTANTS[0]._replace(new=MUTANTS[0].old))
    assert status == 0, output


@pytest.mark.parametrize("module", sorted({module_of(test) for test in TESTS}))
def test_the_whole_engine_is_not_called_broken(pytests: Launcher, copy: Path, module: str) -> None:
    """Whatever its parameters, a test has the same surroundings here: the suite itself runs every case of it."""
    tests = [test for test in TESTS if module_of(test) == module]
    status, output = run(pytests, copy, tests, WHOLE_SECONDS, "-p", one_of_each.__name__)
    assert status == 0, output
    assert "passed" in output
    assert "skipped" not in output, output
