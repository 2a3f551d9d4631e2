"""
Whether order was kept: what handlers say they did, against what was registered.

A producer and handlers that keep a journal append a line a request to two Redis lists, whose name they find in the
variable SHARDED_QUEUE_JOURNAL: `…:registered` and `…:handled`. A line names the tube and, after a space, the request,
by a word that no other request of the tube has. Nothing of it comes from the engine whose work is checked.
"""

from collections.abc import Awaitable, Sequence
from typing import NamedTuple, cast

from sharded_queue.backends.redis.client import Client

CHUNK = 10_000


class Verdict(NamedTuple):
    """
    *breach* tells of the first request that was first handled after one that was registered later; None when there is
    none. *missing* requests are registered and not in the journal as handled; *strange* ones the other way round.
    """

    registered: int
    handled: int
    tubes: int
    duplicates: int
    missing: int
    strange: int
    breach: str | None


async def fetched(redis: Client, name: str) -> tuple[list[str], list[str]]:
    """What was registered, and what was handled."""
    return await lines(redis, f"{name}:registered"), await lines(redis, f"{name}:handled")


async def lines(redis: Client, key: str) -> list[str]:
    """In parts, so that a long list does not keep Redis from everybody else."""
    found: list[str] = []
    while part := await cast("Awaitable[list[bytes]]", redis.lrange(key, len(found), len(found) + CHUNK - 1)):
        found += [line.decode(errors="replace") for line in part]
    return found


async def dropped(redis: Client, name: str) -> None:
    """A journal is of one run; what else is in Redis is not ours to remove."""
    for key in (f"{name}:registered", f"{name}:handled"):
        await redis.unlink(key)


def judged(registered: Sequence[str], handled: Sequence[str]) -> Verdict:
    """Compare two journals; first completions count for the order, later ones are duplicates."""
    places = {line: place for place, line in enumerate(registered)}
    reached: dict[str, str] = {}
    seen: set[str] = set()
    strange, breach = 0, None
    for line in handled:
        if line not in places:
            strange += 1
        elif line not in seen:
            seen.add(line)
            before = reached.get(tube := line.rpartition(" ")[0])
            if before and places[before] > places[line]:
                breach = breach or f"{line} was handled after {before}, which was registered later"
            reached[tube] = line
    missing = len(places) - len(seen)
    return Verdict(
        len(registered),
        len(seen),
        len(reached),
        len(handled) - strange - len(seen),
        missing,
        strange,
        breach,
    )
