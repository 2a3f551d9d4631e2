"""
Which servers the operator asks on behalf of those who write ShardedQueues. Pure.

Who may write one in any namespace could otherwise have the operator knock at every door of the cluster's network.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import NamedTuple

ALL = ("*",)


class Allowed(NamedTuple):
    """Patterns of `host:port`, in which `*` stands for any text. No link-local address is ever asked."""

    patterns: Sequence[str] = ALL

    def covers(self, address: str) -> bool:
        """Whether an address that a resource names may be asked."""
        host = address.rpartition(":")[0].strip("[]")
        return not is_link_local(host) and self.matches(address)

    def covers_peer(self, named: str, host: str, port: int) -> bool:
        """
        Whether to speak to whoever is at *host* under the name *named*. Sentinels and nodes of a Cluster name others,
        and a name may lead anywhere.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return not is_link_local(host) and (self.matches(named) or self.matches(address))

    def matches(self, address: str) -> bool:
        return any(fnmatchcase(address, pattern) for pattern in self.patterns)


def is_link_local(host: str) -> bool:
    """Where clouds tell a machine its secrets; a Redis is nowhere there."""
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_link_local or str(found) in {"fd00:ec2::254"}
