"""The right to work on a thread."""

from typing import NamedTuple

from sharded_queue.printable import printable
from sharded_queue.tube import Shard


class Lease(NamedTuple):
    """
    One worker's right to one thread, until it is released, expires or is taken away.

    *fence* grows with every bind of the thread, for ever, also over a failover of Redis that lost writes:
    compare it in your own database to refuse a writer that was overtaken.
    """

    shard: Shard
    thread: str
    owner: str
    fence: int

    def __str__(self) -> str:
        return f"{printable(self.shard.handler)}/{printable(self.thread)} (fence {self.fence})"
