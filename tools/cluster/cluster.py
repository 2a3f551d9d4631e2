"""
The cluster as its users see it: ours on this machine, or one that KUBECONFIG names.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools import kstatus
from tools.cluster import binaries, cleanup, images, layers, machine, network, substitute_images
from tools.cluster.control_plane import ControlPlane
from tools.cluster.node import Node
from tools.cluster.paths import CACHE, NODE, NODE_ADDRESS, STATE, CannotRun, alone
from tools.cluster.processes import Processes
from tools.cluster.progress import say, step
from tools.cluster.watch import Object, wait_until

LOCK = STATE.with_suffix(".lock")


class Cluster:
    """
    One Kubernetes with the programs to talk to it.
    """

    def __init__(
        self, kubeconfig: Path, programs: Path, node: Node | None = None, *, kinds: Path | None = None
    ) -> None:
        self.kubeconfig = kubeconfig
        self.bin = programs
        self.node = node
        self.kinds = node.state / "kinds" if node else kinds
        self.audit_log = node.control_plane.audit_log if node else None
        """Every API request and its user, one JSON object per line; None for a cluster that is not ours."""

    @property
    def env(self) -> dict[str, str]:
        """
        What a program needs to talk to this cluster.

        What kubectl and helm remember of a cluster's kinds goes with the cluster: they keep it for hours by its
        address, and the next cluster at the same address has other kinds.
        """
        path = os.pathsep.join((str(self.bin), os.environ.get("PATH", os.defpath)))
        ours = {"KUBECACHEDIR": str(self.kinds)} if self.kinds else {}
        return os.environ | {"KUBECONFIG": str(self.kubeconfig), "PATH": path} | ours

    def within(self, command: list[str]) -> list[str]:
        """
        *command* in a mount namespace of its own, where names are resolved by the cluster's DNS: what a process on this
        machine needs to find a Service by its name. On a cluster elsewhere Services cannot be reached from here anyway.
        """
        if self.node is None:
            return command
        resolver = self.node.state / "resolv.conf"
        resolver.write_text(f"search svc.cluster.local cluster.local\nnameserver {NODE_ADDRESS}\noptions ndots:5\n")
        mounted = f'mount --bind {resolver} /etc/resolv.conf && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mounted, "sh", *command]

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 60) -> str:
        return self._run("kubectl", *arguments, stdin=stdin, timeout=timeout)

    def helm(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 120) -> str:
        return self._run("helm", *arguments, stdin=stdin, timeout=timeout)

    def wait_until(
        self, kind: str, name: str, condition: Callable[[Object], Any], *, namespace: str, seconds: float = 30
    ) -> Object:
        """
        The first state of an object for which *condition* is true; it need not exist yet. See `watch.wait_until`.
        """
        watch = ["kubectl", "get", kind, "--namespace", namespace]
        watch += ["--field-selector", f"metadata.name={name}", "--output=json", "--watch", "--output-watch-events"]
        return wait_until(watch, self.env, condition, seconds=seconds)

    def load_images(self) -> list[str]:
        """
        Build the project's images as the working tree has them and give them to the node; returns their tags.
        """
        if self.node is None:
            say("this cluster is yours, and so are its images: push or load what the tests name (localhost/...:dev)")
            return [image.tag for image in images.IMAGES]
        with alone(CACHE / "images.lock"):
            tags = images.provide()
            for tag in tags:
                if layers.load(tag, self.node):
                    say(f"loaded {tag}")
        return tags

    def _run(self, program: str, *arguments: str | Path, stdin: str | None, timeout: float) -> str:
        """
        Raises:
            RuntimeError: the command failed; the message holds what it said.
        """
        command = [shutil.which(program, path=self.env["PATH"]) or program, *map(str, arguments)]
        done = subprocess.run(
            command, env=self.env, input=stdin or "", capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(command[1:])}: exit {done.returncode}\n{done.stderr}{done.stdout}")
        return done.stdout


def given() -> Path | None:
    """
    A kubeconfig of the user's own; ours does not count, so that `env` in a shell and the tests agree.
    """
    named = os.environ.get("KUBECONFIG")
    return Path(named) if named and not Path(named).is_relative_to(STATE) else None


def connect() -> Cluster:
    """
    The existing cluster: ours, or the one of KUBECONFIG. Nothing is started.
    """
    if path := given():
        return Cluster(path, clients())
    control_plane, node = _parts()
    return Cluster(control_plane.kubeconfig(), binaries.folder(), node)


def clients() -> Path:
    """
    The folder with kubectl and helm for a cluster of KUBECONFIG: from PATH in any version, or built.
    """
    there = shutil.which("kubectl")
    return Path(there).parent if there and shutil.which("helm") else binaries.provide("kubectl", "helm")


def prepare() -> None:
    """
    Do everything that takes minutes and stays in the cache: packages, programs, images. Then `up` takes seconds.

    What needs no node comes first, for tests use it also where no node can run.

    Raises:
        CannotRun: with a sentence that says what is missing.
    """
    if given():
        clients()
        return
    binaries.provide(*binaries.API)
    with contextlib.suppress(CannotRun):  # tests that need it say why it is not there
        kstatus.provide()
    machine.ready()
    network.refuse_routes()
    if not STATE.exists():
        network.refuse_ports()
    binaries.provide()
    with alone(CACHE / "images.lock"):
        substitute_images.pause()
        images.provide()


def up() -> bool:
    """
    Start the cluster; false if it was running already. What a crashed run left is removed first.

    The node then has the base image of the project's images. `Cluster.load_images` loads the images themselves.

    Raises:
        CannotRun: something on this machine is in the way; the message says what, and how to remove it.
    """
    machine.ready()
    network.refuse_routes()
    binaries.provide()
    with alone(LOCK):
        if not problems():
            return False
        if cleanup.leftovers(STATE):
            with step("removing what an earlier run left"):
                cleanup.clean(STATE)
        network.refuse_ports()
        with alone(CACHE / "images.lock"):
            base = [substitute_images.pause(), substitute_images.PYTHON.tag]
        try:
            _start(base)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            raise RuntimeError(f"the cluster did not start: {error}; {'; '.join(problems())}") from error
    return True


def down() -> None:
    """
    Remove whatever is left of our cluster, if anything.
    """
    if not STATE.exists():
        return
    with alone(LOCK), step("taking the cluster down"):
        cleanup.clean(STATE)


def problems() -> list[str]:
    """
    Describes what keeps the cluster from being used; empty when it is healthy.
    """
    if not STATE.exists():
        return ["it is not up"]
    processes = Processes(STATE)
    parts = (*cleanup.FIRST, *cleanup.LAST)
    if ended := [name for name in parts if not processes.alive(name)]:
        return [f"{name} is not running; its log: {processes.log(name)}" for name in ended]
    ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    try:
        answer = connect().kubectl("get", "node", NODE, "--output", ready, timeout=10)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return [str(error)]
    return [] if answer == "True" else [f"{NODE} is not ready"]


def _start(base: list[str]) -> None:
    STATE.mkdir(mode=0o755, parents=True)
    control_plane, node = _parts()
    with step("starting the API server, the controllers and the scheduler"):
        node.prepare_network()
        node.prepare_control_groups()
        control_plane.start()
    with step("starting containerd, with the base image"):
        node.start_containers()
        for tag in base:
            layers.load(tag, node)
    with step("starting the node"):
        node.start()
        cluster = connect()
        cluster.kubectl("wait", "--for=create", f"node/{NODE}")
        cluster.kubectl("wait", "--for=condition=Ready", f"node/{NODE}")


def _parts() -> tuple[ControlPlane, Node]:
    control_plane = ControlPlane(STATE, binaries.folder(), Processes(STATE))
    return control_plane, Node(STATE, binaries.folder(), control_plane)
