"""
The contract of a coordinator: it says which worker may work on which thread.

Expiry is judged by the coordinator's own clock. A lease that expired stays harmless: its fence is refused by the
storage from the moment the thread is bound again.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sharded_queue.lease import Lease
from sharded_queue.storage import Batch, Storage
from sharded_queue.tube import Shard


@dataclass(frozen=True, slots=True)
class BindRequest:
    """
    What a worker asks of a shard: at most *threads* threads, with at most *wanted* requests of each.

    While the lease lasts, a tube's priority number drops by one for every *ageing_seconds* its oldest request has
    waited; 0 disables ageing.
    """

    owner: str
    threads: int
    wanted: int
    lease_seconds: float
    ageing_seconds: float = 0.0


class Bound(NamedTuple):
    """
    The answer to a bind: a first batch per thread (each carries its lease), and when to look again.

    *next_seconds*: until the next lease expires or the next back-off ends, by which a thread may become free with
    nobody calling out; None when there is no such moment. *others_wait*: threads were left behind that may be bound.
    *is_cordoned*: this worker is given no threads for now. *occurs_seconds*: until a schedule of the shard occurs;
    None if it has none.
    """

    batches: list[Batch]
    next_seconds: float | None = None
    others_wait: bool = False
    is_cordoned: bool = False
    occurs_seconds: float | None = None


class Coordinator(ABC):
    """Grants leases on threads that have requests, the oldest request first."""

    @abstractmethod
    def attach(self, storage: Storage) -> None:
        """
        Say whose threads are coordinated; called by the worker before anything else.

        Raises:
            SettingsError: this coordinator cannot speak for that storage.
        """

    @abstractmethod
    async def bind(self, shard: Shard, request: BindRequest) -> Bound:
        """
        Bind threads that are free and have requests, and hand out the first requests of each. Never waits.

        A thread whose lease expired or whose back-off ended is free again.
        """

    @abstractmethod
    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> list[Lease]:
        """Prolong leases to *lease_seconds* from now; returns those that were lost."""

    @abstractmethod
    async def release(self, leases: Sequence[Lease]) -> None:
        """Free threads at once; a lease that was lost already is left alone."""

    @abstractmethod
    async def evict(self, shard: Shard, names: Sequence[str]) -> list[str]:
        """
        Free the threads of workers that are known to be gone, without waiting for their leases; returns the threads.

        Only for workers whose processes have ended for certain: their fences are refused from here on, but what a
        handler does elsewhere nobody can take back. It counts as a crash of no request.
        """

    @abstractmethod
    async def cordon(self, shard: Shard, names: Sequence[str], seconds: float) -> None:
        """
        Give these workers no new threads for so long: they are about to be stopped. What they hold they keep.

        With 0 seconds they are given threads again.
        """

    @abstractmethod
    async def wait(self, shards: Sequence[Shard], owner: str, seconds: float) -> Shard | None:
        """
        Return when a thread of *shards* may be free, or one that *owner* holds got a request, or after *seconds*.

        The shard is returned in the first case: this was the only one that was called. Who has no room after all lets
        another one be called, by `notify`.
        """

    @abstractmethod
    async def notify(self, shard: Shard) -> None:
        """Call one of those that wait for threads of *shard*, or the next one that will."""

    async def cancel_wait(self, shards: Sequence[Shard], owner: str) -> bool:
        """Let the `wait` of *owner* for *shards* return; False where it loses no call by being cancelled."""
        return False

    async def free_in(self, shards: Sequence[Shard]) -> float | None:
        """
        Seconds until a lease or a back-off of *shards* ends, or a delayed request is due: 0 when that moment has come,
        None when there is no such moment. Cheaper than a `bind` of each shard. The default, 0, says "look yourself".
        """
        return 0.0

    def clone(self) -> "Coordinator | None":
        """
        A coordinator of the same leases for another event loop, so that they are renewed while this one is blocked; to
        be made and closed in that loop. None where a blocked loop blocks everybody who could take them over.
        """
        return None

    async def close(self) -> None:
        """Let go of connections that this coordinator opened itself."""
        return
