"""How long one step of the engine keeps Redis from everybody else, when all that a user controls is at its bounds."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, NamedTuple

from sharded_queue import RedisCoordinator, RedisOptions, RedisStorage, connect, settings
from sharded_queue.backends.redis.scripts import digest
from sharded_queue.coordinator import BindRequest
from sharded_queue.lease import Lease
from sharded_queue.storage import Batch, Entry, Registration
from sharded_queue.tube import Shard
from tools.redis_server import RedisServer

SHARD = Shard("bench.block")
RUNS = 3
LONGEST_MS = 50.0
"""No step may keep Redis longer, on a quiet machine."""
PATIENCE_SECONDS = 300.0
"""Also for a step that is far above the bound: its line shows it."""
AT_ONCE = 500
LEASE_SECONDS = 3600.0


class Bed:
    """An empty queue on a real Redis, for one step."""

    def __init__(self, server: RedisServer) -> None:
        self.redis = connect(RedisOptions((server.address,), timeout_seconds=PATIENCE_SECONDS))
        self.storage, self.coordinator = RedisStorage(self.redis), RedisCoordinator(self.redis)
        self.coordinator.attach(self.storage)
        self.base = self.storage.keys.base(SHARD)

    async def run(self, script: str, *arguments: Any) -> Any:
        """One call of a script that no method of ours would call with these arguments."""
        return await self.storage.scripts.run(script, self.storage.keys.of(SHARD), arguments, seconds=PATIENCE_SECONDS)

    async def fill(self, entries: Sequence[Entry], **registration: Any) -> None:
        """Register in small parts."""
        for part in parts(entries, AT_ONCE):
            await self.storage.register(SHARD, Registration(part, **registration))

    async def bind(self, threads: int, wanted: int = 1, owner: str = "w/1") -> list[Batch]:
        """Bind so many threads, whatever the bounds of one poll."""
        batches: list[Batch] = []
        while len(batches) < threads:
            request = BindRequest(owner, min(AT_ONCE, threads - len(batches)), wanted, LEASE_SECONDS)
            batches += (await self.coordinator.bind(SHARD, request)).batches
        return batches

    async def hold(self, threads: int, owner: str = "w/1") -> list[Lease]:
        return [batch.lease for batch in await self.bind(threads, owner=owner)]


Step = Callable[[Bed, Any], Awaitable[object]]


async def nothing(_: Bed) -> None:
    return


class Block(NamedTuple):
    """A script, and in words what is at its bounds. What *before* returns is given to *act*, which is measured."""

    script: str
    bounds: str
    act: Step
    before: Callable[[Bed], Awaitable[Any]] = nothing


class Measured(NamedTuple):
    block: Block
    longest_ms: float


async def measure(bed: Bed, block: Block) -> Measured:
    """The shortest of some runs: whatever else runs on the machine only adds to a run."""
    return Measured(block, min([await _longest_ms(bed, block) for _ in range(RUNS)]))


async def _longest_ms(bed: Bed, block: Block) -> float:
    await bed.redis.flushall()
    found = await block.before(bed)
    await bed.redis.config_set("slowlog-log-slower-than", 0)
    await bed.redis.slowlog_reset()
    await block.act(bed, found)
    await bed.redis.config_set("slowlog-log-slower-than", -1)
    call = f"EVALSHA {digest(block.script)} ".encode()
    calls: list[int] = [
        entry["duration"] for entry in await bed.redis.slowlog_get(-1) if entry["command"].startswith(call)
    ]
    if not calls:
        raise RuntimeError(f"the line of {block.script} ({block.bounds}) does not call it")
    return max(calls) / 1000


@asynccontextmanager
async def prepared(server: RedisServer) -> AsyncIterator[Bed]:
    """With time-outs that a step far above the bound does not reach."""
    bed, (timeout, retry) = Bed(server), (settings.redis_timeout, settings.redis_retry)
    settings.redis_timeout = settings.redis_retry = PATIENCE_SECONDS
    await bed.redis.config_set("slowlog-max-len", 10_000)
    try:
        yield bed
    finally:
        settings.redis_timeout, settings.redis_retry = timeout, retry
        await bed.redis.aclose()


def entries(threads: int, requests: int = 1, size: int = 50, priorities: int = 1, first: int = 0) -> list[Entry]:
    """So many threads, with so many requests of each of their priorities."""
    return [
        Entry(f"t{thread}", priority, [b"x" * size] * requests)
        for thread in range(first, first + threads)
        for priority in range(priorities)
    ]


def with_identities(given: Sequence[Entry], name: str = "new") -> list[Entry]:
    """Each request with an identity of its own, as long as `Queue` makes them."""
    numbers = count()
    return [entry._replace(identities=[f"{name}-{next(numbers):028}" for _ in entry.bodies]) for entry in given]


def parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[at : at + size] for at in range(0, len(items), size))
