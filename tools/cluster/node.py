"""
One node whose pods really run: containerd and runc, kubelet, kube-proxy, and CoreDNS as a plain process beside them.

NetworkPolicies and load balancers have no effect on this node. IP forwarding stays switched on after `down`.
"""

import contextlib
import json
import subprocess
from pathlib import Path
from typing import IO

from tools.cluster.control_plane import ControlPlane
from tools.cluster.paths import CGROUP, NODE, NODE_ADDRESS, NODE_BRIDGE, POD_BRIDGE, PODS, SERVICES
from tools.cluster.processes import Processes, poll_until

PAUSE = "localhost/pause:1"

PARTS = ("kube-proxy", "kubelet", "coredns", "containerd")

CONTAINERD = """\
version = 2
root = "{state}/containerd/root"
state = "{state}/containerd/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without it every sandbox fails on machines that lack CAP_SYS_RESOURCE ("can't get final child's PID from pipe").
  restrict_oom_score_adj = true
  # Otherwise network namespaces are mounted under /run, beside those of another containerd.
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{state}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""

COREDNS = """\
.:53 {{
  bind {address}
  errors
  kubernetes cluster.local {{
    kubeconfig {kubeconfig}
    ttl 1
  }}
}}
"""


class Node:
    def __init__(self, state: Path, programs: Path, control_plane: ControlPlane) -> None:
        self.state = state
        self.programs = programs
        self.control_plane = control_plane
        self.processes = Processes(state)
        self.socket = state / "containerd.sock"

    def prepare_network(self) -> None:
        """
        Create the bridge that holds the address of the node. Unlike dummy devices, every machine has bridges.
        """
        _ip("link", "add", NODE_BRIDGE, "type", "bridge")
        _ip("address", "add", f"{NODE_ADDRESS}/32", "dev", NODE_BRIDGE)
        _ip("link", "set", NODE_BRIDGE, "up")
        _ip("route", "add", SERVICES, "dev", NODE_BRIDGE)  # keeps packets to unknown Services on this machine
        for name in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
            (Path("/proc/sys") / name).write_text("1")

    def prepare_control_groups(self) -> None:
        """
        Create a control group above those of the pods, to find all processes of pods whatever else is gone.
        """
        root = Path("/sys/fs/cgroup")
        if (root / "cgroup.controllers").exists():
            (root / CGROUP).mkdir()
            with contextlib.suppress(
                OSError
            ):  # it is enabled already, or cannot be; the kubelet reports one that it misses
                (root / "cgroup.subtree_control").write_text("+cpu +cpuset +memory +pids")
            return
        for controller in root.glob("*/cgroup.procs"):
            with contextlib.suppress(FileExistsError):  # cpu and cpuacct may be two names of the same controller
                (controller.parent / CGROUP).mkdir()

    def start_containers(self) -> None:
        self._write_network()
        config = self.state / "containerd.toml"
        config.write_text(CONTAINERD.format(state=self.state, socket=self.socket, pause=PAUSE))
        self.processes.start("containerd", "containerd", "--config", config)
        log = self.processes.log("containerd")
        poll_until(lambda: self.ctr("version"), f"containerd (see {log})", seconds=30)

    def start(self) -> None:
        self._start_kubelet()
        self._start_proxy()
        self._start_names()

    def ctr(self, *arguments: str, stdin: IO[bytes] | None = None) -> str:
        """
        Run ctr in the namespace of containerd in which Kubernetes keeps its images and containers.
        """
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _write_network(self) -> None:
        bridge = {
            "type": "bridge",
            "bridge": POD_BRIDGE,
            "isGateway": True,
            "hairpinMode": True,
            "ipMasq": False,  # pods can reach this machine and nothing beyond it
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": str(self.state / "addresses"),
            },
        }
        folder = self.state / "cni"
        folder.mkdir()
        network = {"cniVersion": "1.0.0", "name": POD_BRIDGE, "plugins": [bridge]}
        (folder / "pods.conflist").write_text(json.dumps(network))

    def _start_kubelet(self) -> None:
        resolver = self.state / "resolv.conf"
        resolver.write_text("")
        never = dict.fromkeys(
            ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree"),
            "0%",
        )
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_ADDRESS,
            "healthzBindAddress": NODE_ADDRESS,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},  # only this machine can reach it
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "clusterDNS": [NODE_ADDRESS],
            "clusterDomain": "cluster.local",
            "resolvConf": str(resolver),
            "podLogsDir": str(self.state / "pod-logs"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{CGROUP}",
            "cgroupsPerQOS": True,
            "failCgroupV1": False,
            "failSwapOn": False,
            "localStorageCapacityIsolation": False,
            # A full disk must neither evict pods nor remove the loaded images.
            "evictionHard": never,
            "imageGCHighThresholdPercent": 100,
        }
        path = self.state / "kubelet.json"
        path.write_text(json.dumps(config))
        self.processes.start(
            "kubelet",
            self.programs / "kubelet",
            f"--config={path}",
            f"--kubeconfig={self.control_plane.kubeconfig(f'system:node:{NODE}')}",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_ADDRESS}",
            f"--root-dir={self.state / 'kubelet'}",
            f"--cert-dir={self.state / 'pki'}",
        )

    def _start_proxy(self) -> None:
        self.processes.start(
            "kube-proxy",
            self.programs / "kube-proxy",
            f"--kubeconfig={self.control_plane.kubeconfig('system:kube-proxy')}",
            "--proxy-mode=iptables",
            f"--cluster-cidr={PODS}",
            f"--hostname-override={NODE}",
            f"--healthz-bind-address={NODE_ADDRESS}:10256",
            f"--metrics-bind-address={NODE_ADDRESS}:10249",
        )

    def _start_names(self) -> None:
        config = self.state / "Corefile"
        kubeconfig = self.control_plane.kubeconfig("system:coredns")
        config.write_text(COREDNS.format(address=NODE_ADDRESS, kubeconfig=kubeconfig))
        self.processes.start("coredns", self.programs / "coredns", "-conf", config)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
