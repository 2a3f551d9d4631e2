"""Free ports of this machine, for servers that must know their port before they start."""

import random
import socket
from contextlib import ExitStack
from functools import cache
from pathlib import Path

BUS = 10_000
"""The bus port of a Redis Cluster node is its port plus this number."""

LOWEST, HIGHEST = 10_000, 65_535
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
ENOUGH = 1_000


def free_port() -> int:
    """
    A port that is free, as is its bus port.

    Neither is in the ephemeral range of the system, of which any new connection may take one before the server starts.
    The port is random, because other tests on this machine choose theirs at the same time.
    """
    while not are_free(port := random.SystemRandom().choice(candidates())):
        continue
    return port


@cache
def candidates() -> list[int]:
    """Ports outside the ephemeral range, as are their bus ports; all ports if these are too few."""
    low, high = _ephemeral()
    all_pairs = range(LOWEST, HIGHEST - BUS + 1)
    outside = [port for port in all_pairs if not any(low <= each <= high for each in (port, port + BUS))]
    return outside if len(outside) >= ENOUGH else list(all_pairs)


def _ephemeral() -> tuple[int, int]:
    """The ephemeral range of Linux; on other systems that of IANA."""
    low, high = EPHEMERAL.read_text().split() if EPHEMERAL.exists() else (49_152, 65_535)
    return int(low), int(high)


def are_free(port: int) -> bool:
    with ExitStack() as stack:
        try:
            for each in (port, port + BUS):
                stack.enter_context(socket.socket()).bind(("", each))
        except OSError:
            return False
    return True
