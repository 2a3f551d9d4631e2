"""The operator as a local process, against the API server of a cluster."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tools.cluster.cluster import Cluster
from tools.cluster.processes import poll_until
from tools.ports import free_port

CRDS = Path(__file__).parents[1] / "crds"
PATIENCE = 20.0


def until(check: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """The first true answer of *check*, which is called again and again: for what gives no sign when it changes."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if answer := check():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {patience} s")


def until_reached(read: Callable[[], float], target: float, what: str) -> None:
    """
    Return when *read* gives *target*, and fail when it stands still for PATIENCE seconds. How long all of it takes says
    only how fast the machine is.
    """
    reached = read()
    while reached != target:
        before = reached
        until(partial(_is_other, read, before), f"{what}: {before:g} of {target:g}")
        reached = read()


def _is_other(read: Callable[[], float], before: float) -> bool:
    return read() != before


def ended(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    if process.poll() is None:
        process.send_signal(number)
    return process.wait(PATIENCE)


def install_crd(cluster: Cluster) -> None:
    """`kubectl wait` fails at a definition that has no conditions yet."""
    cluster.kubectl("apply", "--filename", str(CRDS))
    state = 'jsonpath={.status.conditions[?(@.type=="Established")].status}'
    name = "customresourcedefinition/shardedqueues.shardedqueue.dev"
    poll_until(lambda: cluster.kubectl("get", name, "--output", state) == "True", "the kind ShardedQueue")


class Operator:
    """One running operator process, with its probes and metrics."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def page(self, path: str) -> str:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def is_ready(self) -> bool:
        try:
            return self.page("/readyz") == "ok"
        except OSError:
            return False

    def total(self, metric: str, *labels: str) -> float:
        """The sum of a metric's samples that carry all of *labels*, each as `name="value"`."""
        lines = [line for line in self.page("/metrics").splitlines() if line.startswith(metric)]
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(label in line for label in labels))

    def wait_for_polls(self, number: int = 4, outcome: str = "known", patience: float = PATIENCE) -> None:
        """Wait until the operator has read Redis *number* more times."""
        metric, label = "sharded_queue_operator_polls_total", f'outcome="{outcome}"'
        before = self.total(metric, label)
        until(lambda: self.total(metric, label) >= before + number, f"{number} more polls", patience)

    def writes(self) -> float:
        return sum(
            self.total("sharded_queue_operator_api_calls_total", f'verb="{verb}"')
            for verb in ("PATCH", "POST", "PUT", "DELETE")
        )

    def kill(self) -> None:
        ended(self.process, signal.SIGKILL)


Start = Callable[..., Operator]


@contextmanager
def starting(cluster: Cluster, namespace: str, folder: Path) -> Iterator[Start]:
    """
    Starts operators in one namespace, and ends them all. One that does not heed SIGTERM is killed, or it would disturb
    every later test.

    Raises:
        TimeoutExpired: an operator had to be killed.
    """
    started: list[subprocess.Popen[bytes]] = []

    def start(*, wait: bool = True, **settings: str) -> Operator:
        port = free_port()
        named = {"OPERATOR_NAMESPACES": namespace, "OPERATOR_HTTP_PORT": str(port), "OPERATOR_STATUS_SECONDS": "5"}
        named["OPERATOR_ALLOWED_REDIS"] = "*"  # the redis-server of a test is no Service
        named |= settings
        command = [sys.executable, "-m", "sharded_queue_operator"]
        with (folder / f"operator-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(command, env=cluster.env | named, stdout=log, stderr=log)
        started.append(process)
        operator = Operator(process, port)
        if wait and "OPERATOR_LEASE_NAMESPACE" not in settings:
            until(operator.is_ready, "the operator is ready")
        return operator

    try:
        yield start
        for process in started:
            ended(process)
    finally:
        for process in started:
            process.kill()
            process.wait()
