"""Ports of this machine for servers that must be told theirs before they start."""

import random
import socket
from contextlib import ExitStack
from functools import cache
from pathlib import Path

BUS = 10_000
"""The nodes of a Redis Cluster talk to each other on a port that is so much higher."""

LOWEST, HIGHEST = 10_000, 65_535
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
ENOUGH = 1_000


def free_port() -> int:
    """
    A port that nobody has, with its bus port.

    Neither is one that the system hands out: of those, any connection that anybody opens may take one before its server
    starts. And it is a random one, for other tests on this machine choose theirs at the same time.
    """
    while not are_free(port := random.SystemRandom().choice(candidates())):
        continue
    return port


@cache
def candidates() -> list[int]:
    """Pairs outside the range of the system; where it leaves too few, all."""
    low, high = _ephemeral()
    all_pairs = range(LOWEST, HIGHEST - BUS + 1)
    outside = [port for port in all_pairs if not any(low <= each <= high for each in (port, port + BUS))]
    return outside if len(outside) >= ENOUGH else list(all_pairs)


def _ephemeral() -> tuple[int, int]:
    """What the system hands out itself; on other systems than Linux, what IANA gave for it."""
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
