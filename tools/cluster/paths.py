"""
Folders and addresses: one folder that is kept (the cache), one that goes with the cluster (its state).
"""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.cluster.progress import say

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

CACHE = Path(os.environ.get("SHARDED_QUEUE_CACHE") or "~/.cache/sharded-queue").expanduser() / "cluster"
"""What takes minutes to build: binaries, wheels, image layers. It can be deleted while no cluster is up."""

STATE = Path("/var/lib/sharded-queue-cluster")
"""
Everything of the running cluster; `down` removes it whole. Fixed, and only root writes there: bridges and control
groups are one set a machine, so a second place would be a second cluster that takes them away from the first.
"""

NODE = "node-1"
NODE_ADDRESS = "198.18.255.1"
"""On a bridge of our own, so that well-known ports do not clash with those of another program."""

PODS = "198.18.0.0/17"
SERVICES = "198.19.0.0/16"
NODE_BRIDGE = "sq-node"
POD_BRIDGE = "sq-pods"
CGROUP = "sharded-queue-cluster"


class CannotRun(Exception):
    """
    This machine cannot run the cluster; the message says what is missing.
    """


def digest(paths: Iterable[Path], *, salt: str = "") -> str:
    """
    A short hash of files, and of all files under folders.

    It covers names and bytes. Compiled Python does not count, because every run of the tests writes it.
    """
    seen = hashlib.sha256(salt.encode())
    for file in sorted(file for path in paths for file in _files(path)):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        seen.update(f"{os.path.relpath(file, REPOSITORY)} {content}\n".encode())
    return seen.hexdigest()[:16]


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """
    Let one process in at a time; others wait. The lock is released when its process ends, however it ends.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run, which holds {lock}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    return [path] if path.exists() else []
