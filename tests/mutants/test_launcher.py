"""The launcher of the mutants' runs: a run that hangs is ended, and the next one is as good as the first."""

from pathlib import Path

import pytest

from tests.mutants.launcher import Launcher, Run, launcher

ROOT = Path(__file__).parents[2]

HANGING = """
import threading

import pytest

@pytest.fixture
def stuck():
    yield
    threading.Event().wait()

def test_fails_and_never_ends(stuck):
    assert False
"""


def run(pytests: Launcher, folder: Path, name: str, text: str, timeout: float) -> tuple[int, str]:
    (folder / name).write_text(text)
    arguments = ["-q", "-p", "no:cacheprovider", "--timeout", "1", "--noconftest", str(folder / name)]
    return pytests.run(Run(arguments, [], {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, str(folder / "output")), timeout)


def test_a_run_that_hangs_takes_no_other_run_with_it(tmp_path: Path) -> None:
    """Its end was the end of all runs after it: 120 tests were red, for one."""
    with launcher(ROOT) as pytests:
        with pytest.raises(TimeoutError, match=r"did not end within 3 s"):
            run(pytests, tmp_path, "test_hanging.py", HANGING, timeout=3)
        status, output = run(pytests, tmp_path, "test_sound.py", "def test_passes(): pass", timeout=60)

    assert (status, "1 passed" in output) == (0, True)


def test_a_launcher_ends_while_a_run_hangs(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError), launcher(ROOT) as pytests:
        run(pytests, tmp_path, "test_hanging.py", HANGING, timeout=3)
