"""
Processes are ended only when they are ours, and what is mounted is undone in order. Needs no cluster.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.cluster import cleanup, images
from tools.cluster.paths import REPOSITORY
from tools.cluster.processes import Processes, poll_until

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="a cluster runs on Linux only")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    ours = Processes(tmp_path)
    yield ours
    for name in ours.names():
        ours.stop(name)


def test_another_object_finds_and_ends_a_process(processes: Processes, tmp_path: Path) -> None:
    """
    `down` is another program than `up`: the folder is all they share.
    """
    processes.start("sleeper", "sleep", "60")
    poll_until(lambda: processes.alive("sleeper"), "the process")

    Processes(tmp_path).stop("sleeper")

    assert not processes.alive("sleeper")
    assert processes.names() == []


def test_process_that_ignores_the_request_is_ended(processes: Processes) -> None:
    processes.start("stubborn", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 60; done")
    poll_until(lambda: "ready" in processes.log("stubborn").read_text(), "the trap")

    processes.stop("stubborn", seconds=0.1)

    assert not processes.alive("stubborn")


def test_stranger_with_a_recorded_pid_is_left_alone(processes: Processes) -> None:
    """
    After a crash the pid may have gone to another program.
    """
    stranger = subprocess.Popen(["sleep", "60"])
    processes.pids.mkdir()
    (processes.pids / "etcd.pid").write_text(str(stranger.pid))
    (processes.pids / "etcd.json").write_text(json.dumps(["etcd", "--data-dir=/somewhere"]))

    processes.stop("etcd")

    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@pytest.mark.parametrize("content", ["", "not a number"])
def test_half_written_record_counts_as_not_running(processes: Processes, content: str) -> None:
    processes.pids.mkdir()
    (processes.pids / "kubelet.pid").write_text(content)
    (processes.pids / "kubelet.json").write_text('["kubelet"]')

    assert not processes.alive("kubelet")


@pytest.mark.parametrize("lock", images.LOCKS, ids=lambda lock: lock.parent.name)
def test_images_install_the_versions_that_were_tested(lock: Path) -> None:
    """
    The images have locks of their own, for they leave the tools out; what they share with the environment is the same.
    """
    tested = (REPOSITORY / "requirements.lock").read_text().splitlines()
    pins = [line for line in lock.read_text().splitlines() if "==" in line and not line.startswith((" ", "#"))]

    assert [pin for pin in pins if pin not in tested] == []


def test_mounts_are_undone_from_the_last_to_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A volume inside a root file system goes before it; a space in a name is written \\040 there.
    """
    rows = [f"1 1 0:1 / {path} rw - tmpfs none rw" for path in (tmp_path / "root", tmp_path / "root/a\\040b", "/else")]
    real = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path: "\n".join(rows) if str(path).endswith("mountinfo") else real(path)
    )

    assert cleanup.mounts(tmp_path) == [tmp_path / "root/a b", tmp_path / "root"]
