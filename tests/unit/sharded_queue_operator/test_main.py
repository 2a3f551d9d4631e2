"""The command `sharded-queue-operator`: its help, and what it says where it cannot run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def typed(*words: str, home: Path) -> "subprocess.CompletedProcess[str]":
    """The program where no cluster is known."""
    lonely = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "QUEUE_", "OPERATOR_"))}
    command = [sys.executable, "-m", "sharded_queue_operator", *words]
    environment = lonely | {"HOME": str(home), "COLUMNS": "80"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_help_needs_no_cluster_and_lists_the_settings(tmp_path: Path) -> None:
    said = typed("--help", home=tmp_path)

    assert (said.returncode, said.stderr) == (0, "")
    assert "OPERATOR_LOG_LEVEL=INFO\n      The least severe messages that are logged" in said.stdout
    assert "Traceback" not in said.stdout


def test_unknown_arguments_are_refused(tmp_path: Path) -> None:
    said = typed("--namespace", "x", home=tmp_path)

    assert (said.returncode, "unrecognized arguments: --namespace" in said.stderr) == (2, True)


def test_without_a_cluster_it_says_so_in_a_sentence(tmp_path: Path) -> None:
    said = typed(home=tmp_path)

    assert said.returncode == 1
    assert "sharded-queue-operator: found no cluster" in said.stderr
    assert "Traceback" not in said.stderr
