"""How many threads of a shard wait for a worker, and how long it is until one becomes free by itself."""

from sharded_queue.backends.memory.shard import STOPPED, MemoryShard


def outlook(shard: MemoryShard, now: int) -> tuple[int, int | None]:
    """The number of threads, each delayed request that is due counted as one, and the answer of `soonest`."""
    due = sum(1 for moment, _, _ in shard.due if moment <= now)
    ended = len(shard.leases.up_to(now)) + len(shard.blocked.up_to(now))
    waiting = len(shard.ready) + len(shard.unparking) + ended + due
    if any_over := bool(shard.resumes.up_to(now)):  # `bind` ends that pause
        waiting += 1
    return 0 if shard.is_paused and not any_over else waiting, soonest(shard, now)


def soonest(shard: MemoryShard, now: int) -> int | None:
    """Milliseconds until a lease expires, a wait of a thread ends or a delayed request is due; None for never."""
    moments: list[float] = [
        score for waits in (shard.leases, shard.blocked, shard.resumes) for _, score in waits.lowest(1)
    ]
    moments += [due for due, _, _ in shard.due[:1]]
    finite = [moment for moment in moments if moment < STOPPED]
    return max(int(min(finite)) - now, 0) if finite else None
