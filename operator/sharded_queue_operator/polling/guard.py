"""What the operator lets a Redis do: be one that it may connect to, within bounds for a message and a budget."""

from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from sharded_queue.backends.redis.bounded_parser import BoundedParser, Bounds, Bucket, Budget, bind_parser
from sharded_queue.backends.redis.client import Client
from sharded_queue_operator.allowed import Allowed

BOUNDS = Bounds(elements=1 << 17, bytes=8 << 20, seconds=5.0)
"""A queue that lists 1,024 threads and 10,000 holds answers with 3 MiB, and 50,000 elements."""

OWN_RATE, OWN_BURST = 128 << 10, 128 << 10
"""What each Redis may be read of by itself; a usual answer costs 4 KiB."""
SHARED_RATE, SHARED_BURST = 8 << 20, 8 << 20
"""What all Redis of a namespace may be read of beyond that."""


def own_bucket() -> Bucket:
    return Bucket(OWN_RATE, OWN_BURST)


def shared_bucket() -> Bucket:
    return Bucket(SHARED_RATE, SHARED_BURST)


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


def guard(client: Client, allowed: Allowed, budget: Budget | None = None) -> Client:
    """Make *client* reach *allowed* servers only, within `BOUNDS` and *budget*. Call it before the client connects."""
    bind_parser(client, type("GuardedParser", (GuardedParser,), {"allowed": allowed, "budget": budget}))
    return client
