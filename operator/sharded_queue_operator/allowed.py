"""
Which servers the operator connects to on behalf of a ShardedQueue's author. Pure.

Without this limit, anyone who may write a ShardedQueue in one namespace could make the operator probe the whole network
of the cluster.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import NamedTuple

ALL = ("*",)
SERVICES = ("*.svc:*",)


class Allowed(NamedTuple):
    """Patterns of `host:port`, in which `*` stands for any text. They never allow a link-local address."""

    patterns: Sequence[str] = ALL

    def covers(self, address: str) -> bool:
        """Whether the operator may connect to an address that a resource names."""
        host = address.rpartition(":")[0].strip("[]")
        return not _is_link_local(host) and self._matches(address)

    def covers_peer(self, named: str, host: str, port: int) -> bool:
        """
        Whether to talk to the server at *host* that is known by the name *named*. Sentinels and nodes of a Cluster name
        other servers, and a name may resolve to any address.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return not _is_link_local(host) and (self._matches(named) or self._matches(address))

    def _matches(self, address: str) -> bool:
        return any(fnmatchcase(address, pattern) for pattern in self.patterns)


def _is_link_local(host: str) -> bool:
    """Clouds serve a machine's credentials at such addresses; no Redis is there."""
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_link_local or str(found) in {"fd00:ec2::254"}
