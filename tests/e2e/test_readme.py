"""What the README and its page on Kubernetes tell a newcomer to type, as printed there."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.cluster.cluster import Cluster
from tools.operator_process import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "kubernetes.md"
REQUESTS = 3000
HANDLED = "kubectl exec deploy/redis -- redis-cli llen journal:handled"
DRAINED = re.compile(r"notifications +True +\d+ +\d+ +\d+ +[A-Z]\w+ +0 +[A-Z]\w+")
"""Ready, desired, current, running, whether workers run, depth 0, no lag, reason."""


def printed(page: Path, line: str) -> list[str]:
    """The commands of the block of shell that follows a line, without what is said of them."""
    block = re.search(rf"^{re.escape(line)}\n+```sh\n(.*?)```", page.read_text(), re.M | re.S)
    assert block, f"{page.name} has no shell block after {line!r}"
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


@pytest.fixture
def watching(newcomer: Newcomer) -> Iterator[Callable[[str], "subprocess.Popen[bytes]"]]:
    """Starts commands that end when the test does."""
    started: list[subprocess.Popen[bytes]] = []

    def start(command: str) -> "subprocess.Popen[bytes]":
        started.append(newcomer.start(command))
        return started[-1]

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture
def empty(newcomer: Newcomer) -> Iterator[None]:
    """No definition of ShardedQueue, as before anything was ever installed; and no release afterwards."""
    newcomer.type("kubectl delete crd shardedqueues.shardedqueue.dev --ignore-not-found")
    yield
    newcomer.type("kubectl delete -f examples/notifications/ --ignore-not-found")
    newcomer.type("helm uninstall queues --ignore-not-found --wait")


def test_three_commands_lead_from_an_empty_cluster_to_a_scaled_queue(
    newcomer: Newcomer, empty: None, watching: Callable[[str], "subprocess.Popen[bytes]"]
) -> None:
    install, apply, watch = printed(README, "## On Kubernetes")
    make, env, *others = printed(PAGE, "## From nothing to a scaled queue")
    assert make == "make cluster"
    assert env.startswith("eval")
    assert others == [install, apply, watch]

    newcomer.type(install)
    newcomer.type(apply)
    newcomer.type("kubectl wait shq/notifications --for=condition=Ready --timeout=60s")
    watching(watch)
    until(lambda: int(newcomer.type(HANDLED)) == REQUESTS, "pods handle what the producer registered", 120)
    until(lambda: DRAINED.search(newcomer.log.read_text()), "whoever watches sees that all is handled")


def test_an_operator_on_this_machine_scales_the_same(newcomer: Newcomer, operator: None) -> None:
    apply, make = printed(PAGE, "Without Helm, with the operator as a local process:")
    assert make == "make operator"

    newcomer.type(apply)
    newcomer.type("kubectl wait deploy/redis --for=condition=Available --timeout=60s")
    until(lambda: int(newcomer.type(HANDLED)) == REQUESTS, "pods handle what the producer registered", 120)
    until(lambda: DRAINED.search(newcomer.type("kubectl get shq")), "the resource shows that all is handled")
    newcomer.type("kubectl delete -f examples/notifications/")
