"""
Whether order was kept: what handlers say they did, against what was registered.

A producer and handlers that keep a journal append a line for each request to two Redis lists, `…:registered` and
`…:handled`, whose name they find in the variable SHARDED_QUEUE_JOURNAL. A line names the tube and, after a space, the
request, by a word that no other request of the tube has. The engine whose work is checked writes none of it.
"""

from collections.abc import Awaitable, Sequence
from typing import NamedTuple, cast

from sharded_queue.backends.redis.client import Client

CHUNK = 10_000


class Verdict(NamedTuple):
    """
    *breach* names the first request that was first handled after a request that was registered later; None when order
    was kept. *missing* requests were registered and not handled; *unregistered* ones were handled and not registered.
    """

    registered: int
    handled: int
    tubes: int
    duplicates: int
    missing: int
    unregistered: int
    breach: str | None


async def read_journal(redis: Client, name: str) -> tuple[list[str], list[str]]:
    """What was registered, and what was handled."""
    return await _lines(redis, f"{name}:registered"), await _lines(redis, f"{name}:handled")


async def _lines(redis: Client, key: str) -> list[str]:
    """In parts, so that a long list does not keep Redis from its other clients."""
    found: list[str] = []
    while part := await cast("Awaitable[list[bytes]]", redis.lrange(key, len(found), len(found) + CHUNK - 1)):
        found += [line.decode(errors="replace") for line in part]
    return found


async def delete_journal(redis: Client, name: str) -> None:
    """Each session has a journal of its own; everything else in Redis stays."""
    for key in (f"{name}:registered", f"{name}:handled"):
        await redis.unlink(key)


def check_order(registered: Sequence[str], handled: Sequence[str]) -> Verdict:
    """Compare the two lists of a journal. First completions count for the order, later ones are duplicates."""
    positions = {line: position for position, line in enumerate(registered)}
    reached: dict[str, str] = {}
    seen: set[str] = set()
    unregistered, breach = 0, None
    for line in handled:
        if line not in positions:
            unregistered += 1
        elif line not in seen:
            seen.add(line)
            before = reached.get(tube := line.rpartition(" ")[0])
            if before and positions[before] > positions[line]:
                breach = breach or f"{line} was handled after {before}, which was registered later"
            reached[tube] = line
    return Verdict(
        registered=len(registered),
        handled=len(seen),
        tubes=len(reached),
        duplicates=len(handled) - unregistered - len(seen),
        missing=len(positions) - len(seen),
        unregistered=unregistered,
        breach=breach,
    )
