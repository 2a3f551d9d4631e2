"""One face for the backends under test: storages and coordinators over the same data, and a hand on their clock."""

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from redis.asyncio import Redis

from sharded_queue import Coordinator, Lease, RuntimeCoordinator, RuntimeStorage, Storage
from sharded_queue.backends.redis.clock import Clock
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.coordinator import BindRequest
from sharded_queue.state import ShardState
from sharded_queue.storage import Batch, Entry, Failure, Registration, Settled, Settlement
from sharded_queue.tube import Shard, Tube

SHARD = Shard("tests.Handler")
LEASE_SECONDS = 60.0
STALL_SECONDS = 20.0
"""What a lease has left where a test asks whether it still holds, on a machine that may stand still meanwhile."""
STAMP = 13


class Backend(ABC):
    """What tests do to a storage and its coordinator, in as few words as it takes."""

    storage: Storage
    coordinator: Coordinator

    @abstractmethod
    def another_coordinator(self) -> Coordinator: ...

    @abstractmethod
    async def advance(self, seconds: float) -> None:
        """Let leases, back-offs and the requests in their tubes grow older."""

    async def register(self, thread: str, *bodies: str, priority: int = 0, capacity: int | None = None) -> int:
        """Registers in one tube; the sequence number of the first request."""
        entry = Entry(thread, priority, [body.encode() for body in bodies])
        registered = await self.storage.register(SHARD, Registration([entry], capacity=capacity))
        return registered.firsts[0]

    async def bind(
        self, owner: str = "w/1", threads: int = 1, wanted: int = 128, ageing_seconds: float = 0.0
    ) -> list[Batch]:
        return (
            await self.coordinator.bind(SHARD, BindRequest(owner, threads, wanted, LEASE_SECONDS, ageing_seconds))
        ).batches

    async def bind_one(self, owner: str = "w/1", wanted: int = 128) -> Batch:
        (batch,) = await self.bind(owner, 1, wanted)
        return batch

    async def settle(
        self, batch: Batch, through: int | None = None, wanted: int = 0, release: bool = False, busy: float = 0.0
    ) -> Settled:
        through = batch.last if through is None else through
        (settled,) = await self.storage.settle(
            [Settlement(batch.lease, batch.tube.priority, through, busy, wanted, release)]
        )
        return settled

    async def fail(self, batch: Batch, delay: float | None, error: str = "E") -> bool:
        return await self.storage.fail(
            Failure(batch.lease, batch.tube.priority, batch.first, batch.attempt, error, delay)
        )

    async def release(self, *leases: Lease) -> None:
        await self.coordinator.release(leases)

    async def observe(self, worst: int = 10) -> ShardState:
        (state,) = await self.storage.observe([SHARD], worst)
        return state

    async def waiting(self, thread: str, priority: int = 0) -> list[str]:
        return [bodies([message])[0] for _, message in await self.storage.peek(Tube(SHARD, thread, priority), 10_000)]

    async def crash_with(self, wanted: int = 128, *, is_alone: bool = False) -> Batch:
        """
        A worker binds the next thread and dies with the batch in its hands. *is_alone*: it said that it handled nothing
        else.
        """
        batch = await self.bind_one("dead/1", wanted)
        if is_alone:
            assert await self.coordinator.isolate(batch.lease, True, 1)
        await self.advance(LEASE_SECONDS + 1)
        return batch


class MemoryBackend(Backend):
    def __init__(self) -> None:
        self.now_ms = int(time.time() * 1000)
        self.storage: RuntimeStorage = RuntimeStorage(lambda: self.now_ms)
        self.coordinator = self.another_coordinator()

    def another_coordinator(self) -> Coordinator:
        coordinator = RuntimeCoordinator()
        coordinator.attach(self.storage)
        return coordinator

    async def advance(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)


class RedisBackend(Backend):
    """Time goes by on Redis by moving everything that waits for a moment closer to it: its clock cannot be set."""

    def __init__(self, redis: Redis, clock: Clock | None = None) -> None:
        self.redis = redis
        self.storage = self.redis_storage = RedisStorage(redis, clock=clock)
        self.coordinator = self.another_coordinator()

    def another_coordinator(self) -> Coordinator:
        coordinator = RedisCoordinator(self.redis)
        coordinator.attach(self.storage)
        return coordinator

    async def renew_by_a_clone(self) -> tuple[Batch, Collection[Lease]]:
        """Register, bind, and renew as a worker does, from a client of its own: the batch, and the leases it lost."""
        await self.register("a", "1")
        batch = await self.bind_one()
        clone = self.coordinator.clone()
        assert isinstance(clone, RedisCoordinator)
        try:
            return batch, await clone.renew([batch.lease], LEASE_SECONDS)
        finally:
            await clone.close()

    async def advance(self, seconds: float) -> None:
        keys = self.redis_storage.keys
        base, lock = keys.base(SHARD), keys.lock(SHARD)
        waiting = (
            f"{base}:{name}" for name in ("blocked", "oldest", "ready", "due", "identities", "occurrences", "resumes")
        )
        for key in (f"{lock}:leases", f"{lock}:workers", *waiting):
            for member in await self.redis.zrange(key, 0, -1):
                await self.redis.zincrby(key, -int(seconds * 1000), member)
        if await self.redis.hexists(f"{base}:counters", "polled"):
            await self.redis.hincrby(f"{base}:counters", "polled", -int(seconds * 1000))


def assert_went_by(began: float, seconds: float) -> None:
    """
    Fail unless a backend counted *seconds* since *began*, by the monotonic clock: nothing in memory, whose clock stands
    still, and on Redis no more than what went by, within 10 ms.
    """
    assert -0.01 <= seconds <= time.monotonic() - began + 0.01


def bodies(messages: Sequence[bytes]) -> list[str]:
    return [message[STAMP:].decode() for message in messages]


def handed(batch: Batch | None) -> list[str]:
    """What a batch hands out, without the stamps."""
    assert batch is not None
    return bodies(batch.messages)
