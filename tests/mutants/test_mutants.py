"""
The test of the tests: an engine that breaks a guarantee must be noticed.

A contract that passes whatever the engine does proves nothing. So each guarantee is taken away in a copy of the
package, and the contract tests that are there for it must fail on that copy, and pass on one that is whole.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.contract.conftest import REDIS_BACKENDS
from tests.harness.requirements import require_redis
from tests.mutants import guard
from tests.mutants.mutant import Mutant
from tests.mutants.mutants import MUTANTS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "worker" / "sharded_queue"
SLOW_PLUGINS = ("cacheprovider", "hypothesispytest")
"""Of no use here, and importing Hypothesis is most of the start of the inner pytest."""
FAST_BACKENDS = " and ".join(f"not {name}" for name in REDIS_BACKENDS if name != "redis")

pytestmark = pytest.mark.redis


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    require_redis()
    return Path(shutil.copytree(PACKAGE, tmp_path / PACKAGE.name))


def run(copy: Path, tests: Iterable[str]) -> "subprocess.CompletedProcess[str]":
    """The named contract tests, on the copy."""
    paths = [str(path) for path in (copy.parent, ROOT, os.environ.get("PYTHONPATH")) if path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), guard.VARIABLE: str(copy)}
    options = ["-q", "-x", "-p", guard.__name__, "--timeout", "30", "-k", FAST_BACKENDS]
    options += [f"-pno:{plugin}" for plugin in SLOW_PLUGINS]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *[f"tests/contract/{test}" for test in tests]],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def break_it(copy: Path, mutant: Mutant) -> None:
    path = copy / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1, f"stale: {mutant.file} does not hold the text to replace exactly once"
    path.write_text(text.replace(mutant.old, mutant.new))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "_"))
def test_a_broken_engine_is_caught(copy: Path, mutant: Mutant) -> None:
    break_it(copy, mutant)
    done = run(copy, mutant.tests)
    # 1 is "tests failed"; a test that is gone, or a package that cannot be imported, has another code.
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^1 failed\b(?!.*\berror)", done.stdout, re.MULTILINE), done.stdout


def test_the_whole_engine_is_not_called_broken(copy: Path) -> None:
    done = run(copy, sorted({test for mutant in MUTANTS for test in mutant.tests}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout, done.stdout
