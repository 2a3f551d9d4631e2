"""
Finds what is in the way of our cluster on the network of this machine: another cluster, a VPN, or what they left.
"""

import json
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from tools.cluster.paths import NODE_ADDRESS, NODE_BRIDGE, POD_BRIDGE, PODS, SERVICES, CannotRun

OURS = [ip_network(each) for each in (NODE_ADDRESS, PODS, SERVICES)]
BRIDGES = (NODE_BRIDGE, POD_BRIDGE)
PORTS = {
    "53": "the name server",
    "6443": "the API server",
    "10248": "the kubelet",
    "10249": "kube-proxy",
    "10250": "the kubelet",
    "10256": "kube-proxy",
    "10257": "the controllers",
    "10259": "the scheduler",
}
"""The ports on which parts of the cluster listen, at the address of the node."""

OTHERWISE = "or point KUBECONFIG at a cluster (kind, k3d)"


def refuse_routes() -> None:
    """
    Raises:
        CannotRun: another program has addresses or routes in our ranges; the message says how to remove them.
    """
    _refuse(*routes())


def refuse_ports() -> None:
    """
    Call it only while our cluster is down.

    Raises:
        CannotRun: a program listens on a port of the cluster; the message names it.
    """
    _refuse(*listeners())


def routes() -> Iterator[str]:
    """Routes and addresses inside our ranges that are not on our bridges, each with the command that removes it."""
    for route in json.loads(_told("ip", "-json", "-4", "route", "show", "table", "all")):
        kind, where, device = route.get("type", "unicast"), route["dst"], route.get("dev", "")
        if device in BRIDGES or kind in {"broadcast", "multicast"} or not _is_inside(where):
            continue
        subject, words = ("address", "address") if kind == "local" else ("route", "route")
        at = f"{where} dev {device}" if device else where
        yield f"the {subject} {at} is in the range of the tests' cluster: remove it (ip {words} delete {at})"


def listeners() -> Iterator[str]:
    """Programs that listen on one of our ports at all addresses, so that the cluster cannot."""
    for line in _told("ss", "-Hltunp").splitlines():
        _, _, _, _, local, _, *program = line.split(maxsplit=6)
        address, _, port = local.rpartition(":")
        if port in PORTS and address.partition("%")[0] in {"0.0.0.0", "*", "[::]", NODE_ADDRESS}:
            who = program[0].strip() if program else "a program of another user"
            yield f"port {port}, where {PORTS[port]} of the tests' cluster listens, is taken by {who}: stop it"


def _refuse(*conflicts: str) -> None:
    if conflicts:
        raise CannotRun(f"{'; '.join(sorted(set(conflicts)))}; {OTHERWISE}")


def _is_inside(where: str) -> bool:
    """A wider route, such as the default route of a VPN, does no harm: our narrower routes take precedence."""
    if not where[0].isdigit():  # "default"
        return False
    network: Any = ip_network(where)
    return any(network.subnet_of(ours) or ours == network for ours in OURS)


def _told(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
