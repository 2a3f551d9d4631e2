"""A release holds the files of its packages that git tracks; a file too few or too many is reported."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools.dist import ROOT, expected, faults_of, names, tracked

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, capture_output=True, check=True, timeout=100)
    return {path.suffix: path for path in folder.iterdir()}


@pytest.mark.parametrize("suffix", [".whl", ".gz"])
def test_an_archive_has_all_files_of_the_packages_and_nothing_else(archives: dict[str, Path], suffix: str) -> None:
    assert list(faults_of(archives[suffix], expected(archives[suffix], tracked()))) == []


def test_the_wheel_has_types_scripts_and_licence_and_no_tests(archives: dict[str, Path]) -> None:
    found = names(archives[".whl"])

    assert {"sharded_queue/py.typed", "sharded_queue_pytest/py.typed", "sharded_queue_operator/py.typed"} <= found
    assert "sharded_queue/backends/redis/lua/register.lua" in found
    assert any(name.endswith("licenses/LICENSE") for name in found)
    packages = {"sharded_queue", "sharded_queue_pytest", "sharded_queue_operator"}
    assert {name.partition("/")[0].partition("-")[0] for name in found} == packages


def test_the_wheel_holds_no_package_that_is_not_declared(archives: dict[str, Path]) -> None:
    """A package that was added once failed this check of `make dist`, and only the next release would have told."""
    program = Path(sys.executable).with_name("check-wheel-contents")
    done = subprocess.run(
        [program, archives[".whl"]], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_that_lies_about_and_one_that_is_missing_are_told(archives: dict[str, Path], tmp_path: Path) -> None:
    wheel = Path(shutil.copy(archives[".whl"], tmp_path))
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("tests/test_left.py", "")
    wanted = expected(wheel, {*tracked(), "worker/sharded_queue/lost.lua"})

    assert list(faults_of(wheel, wanted)) == [
        "lacks sharded_queue/lost.lua",
        "holds tests/test_left.py, which is no part of it",
    ]
