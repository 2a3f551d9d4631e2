"""
Removes what a run left, whatever its state: the same way for `down` and after a crash.

Order matters: first the programs that start containers, then the containers, then the programs that serve them, then
mounts, bridges and files. etcd ends after the API server: without etcd, the API server holds its port for minutes.
"""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from tools.cluster.paths import CGROUP, NODE_BRIDGE, POD_BRIDGE
from tools.cluster.processes import Processes, command_line, end, opened, poll_until

FIRST = ("kube-proxy", "kubelet", "containerd")
LAST = ("coredns", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")


def clean(state: Path) -> None:
    """
    Remove the cluster of a state folder, and the folder. Nothing that belongs to other programs is touched.

    Raises:
        RuntimeError: something could not be removed; the message says what.
    """
    processes = Processes(state)
    for name in FIRST:
        processes.stop(name)
    end_containers(state)
    for name in (*LAST, *processes.names()):
        processes.stop(name)
    if (state / "kubelet.json").exists():  # without a kubelet of ours, all such rules belong to another program
        remove_rules()
    unmount(state)
    remove_bridges(NODE_BRIDGE, POD_BRIDGE)
    remove_traces(state)
    if rest := leftovers(state):
        raise RuntimeError(f"still there: {', '.join(rest)}")


def end_containers(state: Path) -> None:
    """
    End containerd's shims, then every process in our pods' control group, until none is left.

    A shim may have been about to start another container, so the groups are checked until they stay empty.
    """
    for pid in shims(state):
        with opened(pid, lambda line: _is_shim(line, state)) as process:
            if process is not None:
                end(process, seconds=0)
    poll_until(_containers_are_gone, "the end of all containers")
    for group in control_groups():
        group.rmdir()


def _containers_are_gone() -> bool:
    members = [pid for group in control_groups() for pid in _members(group)]
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return not members


def control_groups() -> list[Path]:
    """
    The control groups of our pods, innermost first: one tree, or one tree per controller with cgroup v1.
    """
    root = Path("/sys/fs/cgroup")
    tops = [path for path in (root / CGROUP, *root.glob(f"*/{CGROUP}")) if path.is_dir() and not path.is_symlink()]
    return [Path(folder) for top in tops for folder, _, _ in os.walk(top, topdown=False)]


def shims(state: Path) -> list[int]:
    """
    containerd's helpers, one a pod: they are not its children, so only their command line says whose they are.
    """
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if _is_shim(command_line(pid), state)]


def mounts(state: Path) -> list[Path]:
    """
    The mounts under the state folder, latest first: a mount on top of another one must go first.
    """
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]
    return [point for point in reversed(points) if point.is_relative_to(state.resolve())]


def unmount(state: Path) -> None:
    for point in mounts(state):
        if subprocess.run(["umount", point], capture_output=True, check=False).returncode:
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


def remove_rules() -> None:
    """
    Remove what the kubelet and kube-proxy wrote to iptables: every line that names one of their chains.

    `kube-proxy --cleanup` leaves the rules of the kubelet, which would pile up over time.
    """
    for family in ("iptables", "ip6tables"):
        saved = subprocess.run([f"{family}-save", "--counters"], capture_output=True, text=True, check=False).stdout
        kept = "".join(line for line in saved.splitlines(keepends=True) if "KUBE-" not in line)
        if kept != saved:
            subprocess.run([f"{family}-restore", "--counters"], input=kept, text=True, capture_output=True, check=True)


def bridges(*names: str) -> list[str]:
    return [name for name in names if Path("/sys/class/net", name).exists()]


def remove_bridges(*names: str) -> None:
    for name in bridges(*names):
        subprocess.run(["ip", "link", "delete", name], check=True, capture_output=True)


def remove_traces(state: Path) -> None:
    """
    Remove the folder, and what the kubelet and CNI write to fixed paths if its target or its network name is ours.
    """
    logs = Path("/var/log/containers")
    for link in logs.glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(state):
            link.unlink()
    results = Path("/var/lib/cni/results")
    for result in results.glob(f"{POD_BRIDGE}-*-eth0"):
        container = result.name.removeprefix(f"{POD_BRIDGE}-").removesuffix("-eth0")
        (results / f"cni-loopback-{container}-lo").unlink(missing_ok=True)
        result.unlink()
    if not mounts(state):  # never walk into something that is still mounted
        subprocess.run(["rm", "-rf", state], capture_output=True, check=False)  # `leftovers` tells what it left


def leftovers(state: Path) -> list[str]:
    """
    Describes everything of ours that is still on the machine.
    """
    processes = Processes(state)
    return [
        *(f"process {name}" for name in processes.names() if processes.alive(name)),
        *(f"process {pid} (a container's shim)" for pid in shims(state)),
        *(f"control group {group}" for group in control_groups()),
        *(f"mount {point}" for point in mounts(state)),
        *(f"bridge {name}" for name in bridges(NODE_BRIDGE, POD_BRIDGE)),
        *([f"folder {state}"] if state.exists() else []),
    ]


def _members(group: Path) -> list[int]:
    try:
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    except OSError:  # the group has gone with its last process
        return []


def _is_shim(line: list[str], state: Path) -> bool:
    return bool(line) and Path(line[0]).name.startswith("containerd-shim") and str(state / "containerd.sock") in line
