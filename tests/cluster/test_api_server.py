"""
The API server without a node: it needs no root and no bridge, and may run beside a cluster.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tools.cluster.api_server import serving
from tools.cluster.cluster import Cluster
from tools.cluster.paths import REPOSITORY
from tools.cluster.processes import poll_until

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the tests' API server runs on Linux only"),
    pytest.mark.usefixtures("api_programs"),
]


def test_its_controllers_make_pods_that_never_start(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.kubectl("wait", "--for=create", "serviceaccount/default")
        server.kubectl("create", "deployment", "shop", "--image=localhost/absent:dev", "--replicas=2")
        phases = poll_until(lambda: two(pod_phases(server)), "two pods")

    assert phases == ["Pending", "Pending"]


def pod_phases(server: Cluster) -> list[str]:
    return server.kubectl("get", "pods", "--output=jsonpath={.items[*].status.phase}").split()


def two(phases: list[str]) -> list[str]:
    return phases if len(phases) == 2 else []


WAIT = """
import sys
from pathlib import Path
from tools.cluster.api_server import serving
with serving(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_it_ends_with_its_owner_however_that_ends(tmp_path: Path) -> None:
    """Left behind, it would use a processor of a newcomer's machine until the next start."""
    command = [sys.executable, "-c", WAIT, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == b"ready\n"
        started = {"etcd", "kube-apiserver", "kube-controller-manager"}
        poll_until(lambda: running(tmp_path) >= started, "the start of its processes")
        owner.send_signal(signal.SIGKILL)
        owner.wait()

    poll_until(lambda: not running(tmp_path), "the end of its processes")


def running(state: Path) -> set[str]:
    """The programs of *state*, by their command lines."""
    lines = [words.split(b"\0") for file in Path("/proc").glob("[0-9]*/cmdline") if (words := content(file))]
    ours = [words for words in lines if any(str(state).encode() in word for word in words[1:])]
    return {Path(words[0].decode()).name for words in ours} - {Path(sys.executable).name}


def content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it has ended
        return b""
