"""The right to work on a thread."""

import time
from typing import NamedTuple

from sharded_queue.printable import printable
from sharded_queue.tube import Shard

BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def worker_of(owner: str) -> str:
    """
    The worker's name in an owner. An owner is spelled `worker/incarnation`; a worker that is started again is another
    incarnation.
    """
    return owner.partition("/")[0]


def clock() -> float:
    """
    The seconds by which a worker judges its leases. They must go on while the machine is suspended: the monotonic clock
    of Linux stands still then, and a worker would trust a lease that is over. Systems without such a clock use the
    monotonic one.
    """
    return time.monotonic() if BOOTTIME is None else time.clock_gettime(BOOTTIME)


class Lease(NamedTuple):
    """
    One worker's right to one thread, until it is released, expires or is taken away.

    *fence* grows with every bind of the thread. Compare it in your own database to refuse a writer that was overtaken.
    After Redis has lost writes, as in a failover, it grows on if the clock of Redis is not behind: keep the clocks of
    master and replicas synchronised.
    """

    shard: Shard
    thread: str
    owner: str
    fence: int

    def __str__(self) -> str:
        return f"{printable(self.shard.handler)}/{printable(self.thread)} (fence {self.fence})"
