"""What tests need is made before the first of them, on machines that have less than everything."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.cluster import binaries, cluster
from tools.cluster.paths import REPOSITORY, CannotRun

pytestmark = pytest.mark.slow

ANSWERS = {
    "helm": "v4.0.0",
    "kubectl": f"Client Version: v{binaries.KUBERNETES}.0",
    "etcd": "etcd Version: 3.6.0",
    "kube-apiserver": f"Kubernetes v{binaries.KUBERNETES}.0",
    "kube-controller-manager": f"Kubernetes v{binaries.KUBERNETES}.0",
}


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the programs, for a plain user whose PATH has no Go."""
    monkeypatch.setattr(binaries, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    return binaries.folder()


def install(folder: Path, answers: dict[str, str]) -> None:
    folder.mkdir()
    for name, answer in answers.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{answer}'\n")
        program.chmod(0o755)


def test_a_plain_user_gets_all_that_needs_no_node(prepared: Path, tmp_path: Path) -> None:
    """Tests of the chart once built helm themselves, and ran into their time limit."""
    install(tmp_path / "assets", ANSWERS)

    with pytest.raises(CannotRun, match="a node needs"):
        cluster.prepare()
    assert {file.name for file in prepared.iterdir()} == set(binaries.API)


def test_without_go_it_prepares_what_there_is(prepared: Path, tmp_path: Path) -> None:
    install(tmp_path / "assets", {"helm": ANSWERS["helm"]})

    with pytest.raises(CannotRun, match="cannot be built: install Go"):
        cluster.prepare()
    assert {file.name for file in prepared.iterdir()} == {"helm"}


LACKING = ("promtool", "node", "chromium", "postgres")


def make_test(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`make test` with an installed environment whose Python does nothing, on a machine with a Redis and no more."""
    path, venv = folder / "path", folder / "venv"
    (venv / "bin").mkdir(parents=True)
    path.mkdir()
    (venv / ".ready").touch()
    (venv / "bin" / "python").symlink_to("/bin/true")
    (path / "redis-server").symlink_to("/bin/true")
    make = shutil.which("make")
    assert make
    command = [make, "test", f"VENV={venv}", "MAKEFLAGS="]
    names = {"PATH": str(path), **environment}
    return subprocess.run(command, cwd=REPOSITORY, env=names, capture_output=True, text=True, timeout=60, check=False)


def test_programs_of_some_tests_may_be_missing(tmp_path: Path) -> None:
    done = make_test(tmp_path)

    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [f"{name} is missing" for name in LACKING]


def test_in_ci_no_program_may_be_missing(tmp_path: Path) -> None:
    done = make_test(tmp_path, CI="true")

    assert done.returncode != 0
    assert "promtool is missing: install prometheus" in done.stdout
