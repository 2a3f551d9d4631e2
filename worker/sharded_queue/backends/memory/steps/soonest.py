"""How long it is until a thread becomes free by itself."""

from math import inf

from sharded_queue.backends.memory.shard import MemoryShard


def soonest(shard: MemoryShard, now: int) -> int | None:
    """Milliseconds until a lease expires, a back-off ends or a delayed request is due; None if nothing waits so."""
    moments: list[float] = [score for waits in (shard.leases, shard.blocked) for _, score in waits.lowest(1)]
    moments += [due for due, _, _ in shard.due[:1]]
    finite = [moment for moment in moments if moment != inf]
    return max(int(min(finite)) - now, 0) if finite else None
