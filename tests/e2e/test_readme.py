"""What the README tells a newcomer to type on a Kubernetes, as printed there."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.operator_api.conftest import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
REQUESTS = 3000
DRAINED = re.compile(r"notifications +\d+ +\d+ +\d+ +0 +[A-Z]\w+")
"""Desired, current, ready, depth 0, no lag, reason."""


def printed(heading: str) -> list[str]:
    """The commands of the block of shell that follows a line, without what is said of them."""
    block = re.search(rf"^{re.escape(heading)}\n+```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert block, f"README has no shell block after {heading!r}"
    return [line.split("#")[0].strip() for line in block[1].splitlines()]


class Newcomer:
    """A shell in the checkout, whose kubeconfig points to the test's namespace."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        config = cluster.kubeconfig.with_name(f"kubeconfig-{namespace}")  # beside ours, so that it counts as ours
        config.write_bytes(cluster.kubeconfig.read_bytes())
        self.log = folder / "operator.log"
        self.env = cluster.env | {"KUBECONFIG": str(config), "OPERATOR_NAMESPACES": namespace}
        self.env |= {"OPERATOR_HTTP_PORT": "0"}
        self.type(f"kubectl config set-context --current --namespace={namespace}")

    def type(self, command: str) -> str:
        done = subprocess.run(
            command, shell=True, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, command: str) -> "subprocess.Popen[bytes]":
        with self.log.open("wb") as log:
            return subprocess.Popen(
                command, shell=True, cwd=ROOT, env=self.env, stdout=log, stderr=log, start_new_session=True
            )


@pytest.fixture
def newcomer(cluster: Cluster, namespace: str, images: list[str], tmp_path: Path) -> Iterator[Newcomer]:
    if cluster.node is None:
        pytest.skip("`make operator` on this machine cannot reach the Services of a cluster elsewhere")
    newcomer = Newcomer(cluster, namespace, tmp_path)
    yield newcomer
    Path(newcomer.env["KUBECONFIG"]).unlink()


@pytest.fixture
def operator(newcomer: Newcomer) -> Iterator[None]:
    """`make operator`, in a second terminal."""
    process = newcomer.start("make operator")
    yield
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)
    print(newcomer.log.read_text())


def test_the_commands_for_a_kubernetes_lead_to_a_scaled_queue(newcomer: Newcomer, operator: None) -> None:
    commands = printed("On a Kubernetes:")
    assert commands[0] == "make cluster"
    assert "make operator" in commands
    (apply,) = [command for command in commands if command.startswith("kubectl apply")]
    newcomer.type(apply)

    handled = "kubectl exec deploy/redis -- redis-cli llen journal:handled"
    newcomer.type("kubectl wait deploy/redis --for=condition=Available --timeout=60s")
    until(lambda: int(newcomer.type(handled)) == REQUESTS, "pods handle what the producer registered", 120)
    until(lambda: DRAINED.search(newcomer.type("kubectl get shq")), "the resource shows that all is handled")
    newcomer.type("kubectl delete -f examples/notifications/")
