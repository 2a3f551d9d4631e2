"""What the operator lets a Redis do: be one that it may connect to, within bounds for a message and a budget."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from sharded_queue.backends.redis.bounded_parser import BoundedParser, Bounds, Bucket, Budget, Gate, bind_parser
from sharded_queue.backends.redis.client import Client
from sharded_queue_operator.allowed import Allowed

BOUNDS = Bounds(elements=1 << 17, bytes=8 << 20, seconds=5.0)
"""A queue that lists 1,024 threads and 10,000 holds answers with 3 MiB, and 50,000 elements."""

OWN_RATE, OWN_BURST = 128 << 10, 128 << 10
"""What each Redis may be read of by itself; a usual answer costs 4 KiB."""
SHARED_RATE, SHARED_BURST = 8 << 20, 8 << 20
"""What all Redis of a namespace may be read of beyond that."""


class Budgets:
    """What each Redis may be read of, and the one gate of all of them."""

    def __init__(self) -> None:
        self._gate = Gate()
        self._shared: defaultdict[str, Bucket] = defaultdict(lambda: Bucket(SHARED_RATE, SHARED_BURST))
        """By namespace, for as long as the operator runs: who makes a resource anew has no new bucket."""

    def make(self, namespaces: Callable[[], Iterable[str]]) -> Budget:
        """The budget of a Redis that resources of these *namespaces* name."""
        return Budget(Bucket(OWN_RATE, OWN_BURST), lambda: [self._shared[name] for name in namespaces()], self._gate)


class GuardedParser(BoundedParser):
    bounds = BOUNDS
    allowed = Allowed()

    def on_connect(self, connection: Any) -> None:
        """
        Raises:
            RedisConnectionError: the operator may not connect to this server; nothing was sent.
        """
        host, port, *_ = connection._writer.get_extra_info("peername")
        named = f"{connection.host}:{connection.port}"
        if not self.allowed.covers_peer(named, host, port):
            raise RedisConnectionError(f"{named} is not a server that the operator may connect to (allowedRedis)")
        super().on_connect(connection)


def guard(client: Client, allowed: Allowed, budget: Budget) -> Client:
    """Make *client* reach *allowed* servers only, within `BOUNDS` and *budget*. Call it before the client connects."""
    bind_parser(client, type("GuardedParser", (GuardedParser,), {"allowed": allowed, "budget": budget}))
    return client
