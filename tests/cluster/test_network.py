"""
What stands in the cluster's place is named, with its remedy. Each test has a network of its own, so it needs root only.
"""

import os
import re
import shlex
import subprocess
import sys

import pytest

from tools.cluster import machine
from tools.cluster.paths import NODE_BRIDGE, REPOSITORY

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or bool(machine.missing()), reason="needs root and a node's packages"
)

ANOTHER = "ip link set lo up; ip link add k8s0 type bridge; ip link set k8s0 up"
SAY = [sys.executable, "-c", "from tools.cluster import network as it; print(*it.routes(), *it.listeners(), sep='; ')"]
CLUSTER_TESTS = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/cluster/test_cluster.py"]


def after(shell: str, command: list[str], **variables: str) -> str:
    """What *command* prints in a network of its own, once *shell* was done there."""
    ours = ("CI", "KUBECONFIG", "PYTEST_XDIST_")  # of this run, which is no business of that one
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | variables
    words = ["unshare", "--net", "sh", "-euc", f"{shell}\n{shlex.join(command)}"]
    done = subprocess.run(
        words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("shell", "remedy"),
    [
        ("ip route add 198.19.0.0/16 dev k8s0", "ip route delete 198.19.0.0/16 dev k8s0"),
        ("ip route add blackhole 198.18.5.0/24", "ip route delete 198.18.5.0/24"),
        ("ip address add 198.18.255.1/32 dev k8s0", "ip address delete 198.18.255.1 dev k8s0"),
    ],
)
def test_what_another_cluster_left_is_named_with_its_remedy(shell: str, remedy: str) -> None:
    assert f"({remedy})" in after(f"{ANOTHER}; {shell}", SAY)


@pytest.mark.parametrize(
    "shell",
    [
        "ip address add 192.0.2.1/24 dev k8s0; ip route add default via 192.0.2.7",
        "ip route add 128.0.0.0/1 dev k8s0",
        f"ip link set k8s0 down; ip link set k8s0 name {NODE_BRIDGE} up; ip route add 198.19.0.0/16 dev {NODE_BRIDGE}",
    ],
    ids=["another network", "a wide route", "our own bridge"],
)
def test_what_is_not_in_the_way_is_not_named(shell: str) -> None:
    assert after(f"{ANOTHER}; {shell}", SAY).strip() == ""


def test_a_program_that_listens_where_ours_are_to_listen_is_named() -> None:
    listening = "import socket, subprocess, sys; it = socket.create_server(('', 6443)); subprocess.run(sys.argv[1:])"

    said = after(":", [sys.executable, "-c", listening, *SAY])

    assert re.search(r"port 6443, where the API server of the tests' cluster listens, is taken by .*python", said), said


def test_tests_that_need_the_cluster_say_the_conflict_once() -> None:
    left = f"{ANOTHER}; ip route add 198.19.0.0/16 dev k8s0"
    sentence = "the route 198.19.0.0/16 dev k8s0 is in the range of the tests' cluster"

    here, in_ci = after(left, CLUSTER_TESTS), after(left, CLUSTER_TESTS, CI="1")

    assert here.count(sentence) == 1
    assert re.search(r"= \d+ skipped in", here), here
    assert in_ci.count(f"Failed: the tests must have a cluster: {sentence}") == 1
    assert re.search(r"= \d+ skipped, 1 error in", in_ci), in_ci
