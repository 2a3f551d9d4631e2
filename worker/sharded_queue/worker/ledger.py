"""What lanes tell the storage of their threads."""

import logging
from collections.abc import Awaitable, Callable, Sized

from sharded_queue.coordinator import Coordinator
from sharded_queue.errors import StorageUnavailable
from sharded_queue.handler import Handler
from sharded_queue.lease import Lease
from sharded_queue.storage import Failure, Settled, Settlement, Storage
from sharded_queue.worker.batch_fit import BatchFits
from sharded_queue.worker.quota import Quota
from sharded_queue.worker.settlement_batcher import SettlementBatcher
from sharded_queue.worker.task_pool import TaskPool

log = logging.getLogger("sharded_queue")


class Ledger:
    """
    What lanes need to hold their threads (`hold.Host`). *quota* is that of the loop that runs. *is_closed*: whether the
    worker takes nothing new.
    """

    def __init__(
        self,
        storage: Storage,
        coordinator: Coordinator,
        pool: TaskPool,
        lanes: Sized,
        fits: BatchFits,
        is_closed: Callable[[], bool],
    ) -> None:
        self._storage, self._coordinator, self._lanes = storage, coordinator, lanes
        self._batcher = SettlementBatcher(storage, pool)
        self._is_closed = is_closed
        self.quota, self.fits = Quota(), fits

    def reserve(self, handler: type[Handler]) -> int:
        return 0 if self._is_closed() else self.quota.reserve(self.fits.size(handler))

    def settle(self, settlement: Settlement) -> Awaitable[Settled]:
        if len(self._lanes) == 1:  # no other lane to share a call with: this saves two rounds of the event loop
            return self._settle_alone(settlement)
        return self._batcher.settle(settlement)

    async def _settle_alone(self, settlement: Settlement) -> Settled:
        (settled,) = await self._storage.settle([settlement])
        return settled

    async def fail(self, failure: Failure) -> bool:
        return await self._storage.fail(failure)

    async def isolate(self, lease: Lease, is_alone: bool, call: int) -> bool:
        return await self._coordinator.isolate(lease, is_alone, call)

    async def release(self, lease: Lease, delay_seconds: float = 0.0) -> None:
        try:
            await self._coordinator.release([lease], delay_seconds)
        except StorageUnavailable as error:
            log.warning("%s could not be released and will expire: %s", lease, error)
