"""
A parser that limits each answer of Redis before it takes memory.

The parser of redis-py allocates a list as long as an answer announces (`*1000000000` blocks the event loop for
seconds), and reads a message of any length. One Redis of many must not do that to the operator.
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
"""The longest list: 1 MiB of pointers. Our own commands ask for far less."""
MESSAGE_BYTES = 32 << 20
"""The longest answer. A queue that lists 1,024 threads answers with 200 KiB."""
LINE_BYTES = 64 << 10
"""The longest line: a number, a status or an error."""
MESSAGE_SECONDS = 5.0
"""From the first byte of a message to its last. Answers to commands have less: the time-out of the command."""

BULKS, LISTS, MAPS, ATTRIBUTES = b"$=!", b"*~>", b"%", b"|"


class Framing:
    """
    Finds where the messages of a stream begin and end, from their headers alone.

    A list of n elements adds n to the elements still to come; the message ends when none are.
    """

    def __init__(self) -> None:
        self.begun_at: float | None = None
        """When the first byte of the current message arrived; None between messages."""
        self._rest = b""
        self._pending = 1
        self._skip = 0
        self._bytes = 0

    def feed(self, chunk: bytes) -> None:
        """
        Read the next *chunk* of the stream.

        Raises:
            DataError: a message is longer than a limit, or announces that it will be.
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
        _check("a line", len(self._rest), LINE_BYTES, "bytes")
        _check("a message", self._bytes, MESSAGE_BYTES, "bytes")

    def _step(self, data: bytes, at: int) -> int:
        """The length of the next header, with its body as far as it is there; 0 when the chunk ends inside a header."""
        if self._skip:
            step = min(self._skip, len(data) - at)
            self._skip -= step
            self._pending -= self._skip == 0
            return step
        end = data.find(b"\r\n", at)
        if end < 0:
            return 0
        kind, announced = data[at], data[at + 1 : end]
        if kind in BULKS and (length := _length(announced)) >= 0:
            _check("a text", length, MESSAGE_BYTES, "bytes")
            last = end + length + 4
            if last <= len(data):
                self._pending -= 1
                return last - at
            self._skip = last - len(data)
            return len(data) - at
        self._begin(kind, announced)
        return end + 2 - at

    def _begin(self, kind: int, announced: bytes) -> None:
        if kind in LISTS or kind in MAPS or kind in ATTRIBUTES:
            elements = max(_length(announced), 0) * (1 if kind in LISTS else 2)
            _check("a list", elements, ELEMENTS, "elements")
            self._pending += elements + (kind in ATTRIBUTES)
        self._pending -= 1


def _length(announced: bytes) -> int:
    """
    The length that a header announces.

    Raises:
        DataError: it is not a number.
    """
    if len(announced) > 20 or not announced.lstrip(b"-").isdigit():
        raise DataError("an announced length is not a number")
    return int(announced)


def _check(what: str, size: int, bound: int, unit: str) -> None:
    if size > bound:
        raise DataError(f"{what} of {size:,} {unit} is over the limit of {bound:,}")


class BoundedParser(_AsyncHiredisParser):
    """The parser of redis-py with `Framing` in front of it."""

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
        super().on_connect(connection)  # type: ignore[no-untyped-call]
        self._framing = Framing()

    async def read_from_socket(self) -> bool:
        began = self._framing.begun_at
        if began is not None and monotonic() - began > MESSAGE_SECONDS:
            raise DataError(f"a message was incomplete after {MESSAGE_SECONDS:g} s")
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
    Make every connection of *client* use `BoundedParser` and reach *allowed* servers only. Call it before the client
    connects.
    """
    parser = type("BoundedParser", (BoundedParser,), {"allowed": allowed})
    for arguments in _connection_arguments(client):
        arguments["parser_class"] = parser
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
