"""
The contract of a coordinator: it says which worker may work on which thread.

The coordinator's own clock decides when a lease expires. An expired lease does no harm: once the thread is bound again,
the storage refuses the old fence.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sharded_queue.lease import Lease
from sharded_queue.state import About, Report
from sharded_queue.storage import Batch, Storage
from sharded_queue.tube import Shard

NO_REPORTS: Mapping[Lease, Report] = {}


class PartDone(NamedTuple):
    """
    Of a call that began with the request *first* of *priority*: those up to *through* are done, which are not all of
    the call. Once the first request in hand is above *through* + 1, the report is known to come late.
    """

    priority: int
    first: int
    through: int


NOTHING_DONE: Mapping[Lease, PartDone] = {}


class BindRequest(NamedTuple):
    """
    What a worker asks of a shard: at most *threads* threads, with at most *wanted* requests of each. *ahead*: at most
    this many more threads, but no more of them than are left for other workers. *stops_exhausted*: a request that used
    up its tries by killing workers stops its thread, and becomes no dead letter.

    While the lease lasts, a tube's priority number drops by one for every *ageing_seconds* its oldest request has
    waited; 0 disables ageing. *about*: what the worker tells of itself; None where it told so a moment ago.
    """

    owner: str
    threads: int
    wanted: int
    lease_seconds: float
    ageing_seconds: float = 0.0
    about: About | None = None
    ahead: int = 0
    stops_exhausted: bool = False


class Bound(NamedTuple):
    """
    The answer to a bind: a first batch per thread, each with its lease, and when to poll again.

    *next_seconds*: until the next lease expires or the next back-off ends, when a thread may become free without a
    wake-up; None if there is no such moment. *others_wait*: threads that may be bound were left behind. *is_cordoned*:
    this worker gets no threads for now. *occurs_seconds*: until a schedule of the shard occurs; None without one.
    """

    batches: list[Batch]
    next_seconds: float | None = None
    others_wait: bool = False
    is_cordoned: bool = False
    occurs_seconds: float | None = None


class Outlook(NamedTuple):
    """
    *waiting*: about how many threads of a shard a `bind` could take now. *next_seconds*: until a lease or a back-off
    ends, or a delayed request is due: 0 if that moment has come, None if there is none.
    """

    waiting: int
    next_seconds: float | None

    @property
    def is_promising(self) -> bool:
        """Whether a `bind` may find something."""
        return self.waiting > 0 or self.next_seconds == 0


class Arrival(NamedTuple):
    """
    The first request of a drained thread came, and *lease* is that of its holder.

    *batch*: that request, if it was handed out to the holder, which may handle it unless it has sent a call about the
    thread with a number above *call*: the answer to that call has the request as well. None: the holder fetches it.
    """

    lease: Lease
    call: int
    batch: Batch | None = None


class Coordinator(ABC):
    """Grants leases on threads that have requests, the oldest request first."""

    @abstractmethod
    def attach(self, storage: Storage) -> None:
        """
        Take the storage whose threads to coordinate. The worker calls this before anything else.

        Raises:
            SettingsError: this coordinator cannot coordinate the threads of that storage.
        """

    @abstractmethod
    async def bind(self, shard: Shard, request: BindRequest) -> Bound:
        """
        Bind threads that are free and have requests, and hand out the first requests of each. Never waits.

        A thread is free again once its lease has expired or its back-off has ended.
        """

    @abstractmethod
    async def renew(
        self,
        leases: Sequence[Lease],
        lease_seconds: float,
        about: About | None = None,
        reports: Mapping[Lease, Report] = NO_REPORTS,
        done: Mapping[Lease, PartDone] = NOTHING_DONE,
    ) -> list[Lease]:
        """
        Extend the leases of a worker to *lease_seconds* from now; returns those that were lost. *about*: as in a
        `BindRequest`. *reports*: what handlers report of the batches in their hands, kept for twice as long as a lease.
        *done*: what is done of these batches, and is removed from its tube, but for the last request of each.
        """

    @abstractmethod
    async def release(self, leases: Sequence[Lease], delay_seconds: float = 0.0) -> None:
        """Free threads. No worker binds them for *delay_seconds*. A lease that is already lost is left alone."""

    @abstractmethod
    async def isolate(self, lease: Lease, is_alone: bool, call: int) -> bool:
        """
        Note whether the worker has nothing in a call but the one request that it holds by *lease*: only then can its
        death be the fault of this request alone. Returns False if the lease was lost, or holds another number of
        requests. *call*: as in a `Settlement`.
        """

    async def leave(self, owner: str, told: Mapping[Shard, About]) -> None:
        """
        Take a worker that ends off the lists of workers, on which it is by what it *told* each shard. Best effort: a
        worker that is still listed is forgotten when it has told nothing for five minutes.
        """
        return

    @abstractmethod
    async def evict(self, shard: Shard, names: Sequence[str]) -> list[str]:
        """
        Free the threads of workers that are known to be gone, without waiting for their leases; returns the threads.

        Only for workers whose processes have ended for certain. Their fences are refused from here on, but nobody can
        take back what a handler does elsewhere. No request counts this as a crash.
        """

    @abstractmethod
    async def cordon(self, shard: Shard, names: Sequence[str], seconds: float) -> None:
        """
        Give these workers no new threads for *seconds*: they are about to be stopped. They keep the threads they hold.

        0 seconds lifts the cordon.
        """

    @abstractmethod
    async def wait(self, shards: Sequence[Shard], owner: str, seconds: float) -> Shard | Arrival | None:
        """
        Return when a thread of *shards* may be free, when a drained thread that *owner* holds gets a request, or after
        *seconds*.

        Returns the shard whose thread may be free, or what came for *owner*; None: neither, or it is unknown which.
        Each wake-up goes to one waiter only: a worker with no room left must pass on that of a shard with `notify`.
        """

    @abstractmethod
    async def notify(self, shard: Shard) -> None:
        """Wake one worker that waits for threads of *shard*, or the next one that will."""

    async def cancel_wait(self, shards: Sequence[Shard], owner: str) -> bool:
        """
        Make the `wait` of *owner* for *shards* return. False: the wait loses no wake-up if its task is cancelled
        instead.
        """
        return False

    async def look(self, shards: Sequence[Shard], seconds: float) -> dict[Shard, Outlook]:
        """
        What is to be had of each of *shards*, without binding anything; those that do not answer within *seconds* are
        left out. Much cheaper than a `bind` of each. The default says "bind to find out".
        """
        return dict.fromkeys(shards, Outlook(1, 0.0))

    def clone(self) -> "Coordinator | None":
        """
        A coordinator of the same leases for another event loop, which renews them while this loop is blocked. Make and
        close it in that loop. None if a blocked loop also blocks everybody who could take the threads over.
        """
        return None

    async def close(self) -> None:
        """Close the connections that this coordinator opened itself."""
        return
