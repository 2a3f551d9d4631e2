"""
A Kubernetes without a node: etcd, the API server and the controllers, on ports of the loopback. It needs no root.

Objects, watches, quotas and owners are real. Pods are made and never start, for nothing schedules them.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.cluster import binaries
from tools.cluster.cluster import Cluster
from tools.cluster.control_plane import ControlPlane
from tools.cluster.paths import CannotRun
from tools.cluster.processes import Children
from tools.ports import free_port

ADDRESS = "127.0.0.1"


@contextmanager
def serving(state: Path) -> Iterator[Cluster]:
    """
    One of the caller's own, which ends with it. Its files stay in *state*.

    Raises:
        CannotRun: with a sentence that says what is missing.
    """
    refuse_machine()
    children = Children(state)
    control_plane = ControlPlane(state, binaries.provide(*binaries.API), children, address=ADDRESS, port=free_port())
    try:
        control_plane.start_server("--endpoint-reconciler-type=none")  # no Service leads to a loopback address
        control_plane.start_controllers("--secure-port=0")
        yield Cluster(control_plane.kubeconfig(), control_plane.programs, kinds=state / "kinds")
    finally:
        children.stop()


def refuse_machine() -> None:
    if sys.platform != "linux":
        raise CannotRun("an API server of the tests needs Linux; point KUBECONFIG at a cluster of yours (kind, k3d)")
    if not shutil.which("openssl"):
        raise CannotRun("openssl is missing, which makes the key of the tests' API server: install it")
