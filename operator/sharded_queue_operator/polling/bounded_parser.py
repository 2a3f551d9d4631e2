"""
What a Redis may make us read: bounds on each answer, checked before it is parsed.

The parser of redis-py allocates a list as long as an answer announces (`*1000000000` holds the event loop for seconds)
and keeps reading a message of any length. One Redis of many must not do that to the operator.
"""

from time import monotonic
from typing import Any

from redis._parsers.hiredis import _AsyncHiredisParser
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError

from sharded_queue.backends.redis.client import Client
from sharded_queue_operator.allowed import Allowed

ELEMENTS = 1 << 17
"""Of one list at most: 1 MiB of pointers. The longest list we ask for is far below."""
MESSAGE_BYTES = 32 << 20
"""Of one answer at most; that of a queue with 1,024 listed threads has 200 KiB."""
LINE_BYTES = 64 << 10
"""Of a line at most: a number, a status, an error."""
MESSAGE_SECONDS = 5.0
"""From the first byte of a message to its last. An answer has less, by the time-out of its command."""

BULKS, LISTS, MAPS, ATTRIBUTES = b"$=!", b"*~>", b"%", b"|"


class Framing:
    """
    Where the messages of a stream begin and end, read from their headers alone.

    A list of n elements is a message whose n elements are still to come; *pending* counts what is still to come.
    """

    def __init__(self) -> None:
        self.begun_at: float | None = None
        """When the first byte of the message under way came; None between messages."""
        self._rest = b""
        self._pending = 1
        self._skip = 0
        self._bytes = 0

    def feed(self, chunk: bytes) -> None:
        """
        Follow the stream through *chunk*.

        Raises:
            DataError: what is announced, or what came of one message, is beyond a bound.
        """
        data, at = self._rest + chunk, 0
        self._bytes += len(chunk)
        while at < len(data):
            if self.begun_at is None:
                self.begun_at = monotonic()
            step = self._step(data, at)
            if not step:
                break
            at += step
            if self._pending == 0:
                self._pending, self._bytes, self.begun_at = 1, len(data) - at, None
        self._rest = data[at:]
        check("a line", len(self._rest), LINE_BYTES, "bytes")
        check("a message", self._bytes, MESSAGE_BYTES, "bytes")

    def _step(self, data: bytes, at: int) -> int:
        """The length of the next header or part of a body; 0 where more must come first."""
        if self._skip:
            step = min(self._skip, len(data) - at)
            self._skip -= step
            self._pending -= self._skip == 0
            return step
        end = data.find(b"\r\n", at)
        if end < 0:
            return 0
        self._begin(data[at], data[at + 1 : end])
        return end + 2 - at

    def _begin(self, kind: int, announced: bytes) -> None:
        if kind in BULKS:
            length = number(announced)
            check("a text", length, MESSAGE_BYTES, "bytes")
            if length >= 0:
                self._skip = length + 2
                return
        elif kind in LISTS or kind in MAPS or kind in ATTRIBUTES:
            elements = max(number(announced), 0) * (1 if kind in LISTS else 2)
            check("a list", elements, ELEMENTS, "elements")
            self._pending += elements + (kind in ATTRIBUTES)
        self._pending -= 1


def number(announced: bytes) -> int:
    """
    Raises:
        DataError: *announced* is not a length.
    """
    if len(announced) > 20 or not announced.lstrip(b"-").isdigit():
        raise DataError("a length that is not a number")
    return int(announced)


def check(what: str, size: int, bound: int, unit: str) -> None:
    if size > bound:
        raise DataError(f"{what} of {size:,} {unit}, where at most {bound:,} are read")


class BoundedParser(_AsyncHiredisParser):
    """The parser of redis-py, behind `Framing`."""

    allowed = Allowed()

    def on_connect(self, connection: Any) -> None:
        """
        Raises:
            RedisConnectionError: the operator may not talk to this server; nothing was sent.
        """
        host, port, *_ = connection._writer.get_extra_info("peername")
        named = f"{connection.host}:{connection.port}"
        if not self.allowed.covers_peer(named, host, port):
            raise RedisConnectionError(f"{named} is not one of the servers that the operator may ask: allowedRedis")
        super().on_connect(connection)  # type: ignore[no-untyped-call]
        self._framing = Framing()

    async def read_from_socket(self) -> bool:
        began = self._framing.begun_at
        if began is not None and monotonic() - began > MESSAGE_SECONDS:
            raise DataError(f"a message that is not whole after {MESSAGE_SECONDS:g} s")
        assert self._stream
        assert self._reader
        buffer = await self._stream.read(self._read_size)
        if not buffer:
            raise RedisConnectionError("the connection was closed by the server")
        self._framing.feed(buffer)
        self._reader.feed(buffer)
        return True


def bound(client: Client, allowed: Allowed) -> Client:
    """
    Have every connection of *client* parse by `BoundedParser`, and speak to allowed servers only; call it before the
    first one is made.
    """
    parser = type("BoundedParser", (BoundedParser,), {"allowed": allowed})
    for place in _connection_arguments(client):
        place["parser_class"] = parser
    return client


def _connection_arguments(client: Client) -> list[dict[str, object]]:
    if isinstance(client, RedisCluster):
        nodes = client.nodes_manager
        startup = [node.connection_kwargs for node in nodes.startup_nodes.values()]
        return [client.connection_kwargs, nodes.connection_kwargs, *startup]
    return _of_pool(client)


def _of_pool(client: Redis) -> list[dict[str, object]]:
    pool = client.connection_pool
    sentinels = pool.sentinel_manager.sentinels if isinstance(pool, SentinelConnectionPool) else []
    return [pool.connection_kwargs, *(found for each in sentinels for found in _of_pool(each))]
