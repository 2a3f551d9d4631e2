"""
What the machine must have before anything starts. On Debian, root installs what is missing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.cluster.paths import CannotRun
from tools.cluster.progress import say, step

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "openssl": "openssl",
    "mmdebstrap": "mmdebstrap",
    "buildah": "buildah",
}
"""The command or file that shows that a Debian package is installed."""


def ready() -> None:
    """
    Make sure that a node can run here. On Debian, as root, install what is missing.

    Raises:
        CannotRun: with a sentence that says what is missing.
    """
    if sys.platform != "linux":
        raise CannotRun("a node needs Linux; point KUBECONFIG at a cluster of yours (kind, k3d) instead")
    if os.geteuid() != 0:
        raise CannotRun("a node needs root, for its network and its containers; or point KUBECONFIG at a cluster")
    if wanted := missing():
        install(wanted)


def missing() -> list[str]:
    return sorted({package for command, package in PACKAGES.items() if not _has(command)})


def install(packages: list[str]) -> None:
    if not shutil.which("apt-get"):
        raise CannotRun(f"these are missing, install them first (Debian's names): {' '.join(packages)}")
    say(f"installing with apt-get: {' '.join(packages)}")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with step("apt-get"):
        _apt("update", env=quiet)
        _apt("install", "--yes", "--no-install-recommends", *packages, env=quiet)
    if still := missing():
        raise CannotRun(f"apt-get is done and these are still missing: {' '.join(still)}")


def _apt(*arguments: str, env: dict[str, str]) -> None:
    done = subprocess.run(["apt-get", "--quiet", *arguments], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(f"apt-get {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")


def _has(command: str) -> bool:
    return Path(command).exists() if command.startswith("/") else shutil.which(command) is not None
