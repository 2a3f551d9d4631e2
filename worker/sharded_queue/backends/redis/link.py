"""
One command at a time, sent once, on a connection borrowed from the user's client.

When an answer is late, redis-py sends the command again and does not report it. Our scripts must know that they are
sent again (see `Scripts`), so a `Link` takes connections from the user's client and sends on them itself.
"""

import asyncio
import math
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from hiredis import pack_command
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    MovedError,
    RedisClusterException,
    RedisError,
    ResponseError,
    SlotNotCoveredError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from sharded_queue.backends.redis.client import Client, addresses_of, speaks_tls
from sharded_queue.backends.redis.deadline import Deadline, Deadlines
from sharded_queue.backends.redis.probe import find_plain, find_tls
from sharded_queue.errors import SettingsError, ShardedQueueError

REDIRECTS = 5
PROBED_ADDRESSES = 3


class NotYet(RedisError):
    """Redis answered that it did nothing, and may do it when asked again."""


class EndedAtOnce(RedisConnectionError):
    """The server ended a plain connection as it began, which is what one that speaks TLS does."""


_idle_of: WeakKeyDictionary[Client, dict[Any, list[Any]]] = WeakKeyDictionary()
"""Connections kept open, by client and node. Not by link: links come and go, and would take them from the pool."""


class Link:
    """Sends commands to Redis exactly once each, on connections borrowed from the user's client."""

    def __init__(self, redis: Client) -> None:
        if not isinstance(redis, Redis | RedisCluster):
            kind = f"{type(redis).__module__}.{type(redis).__qualname__}"
            raise SettingsError(
                f"a client of redis.asyncio is needed, not a {kind}: make it by redis.asyncio.Redis(...), "
                "redis.asyncio.RedisCluster(...) or connect()"
            )
        self.redis = redis
        self.is_cluster = isinstance(redis, RedisCluster)
        self._suspects: set[str] = set()
        self._has_connected = False
        self._deadlines: Deadlines | None = None

    async def send(self, key: str, *command: Any, seconds: float) -> Any:
        """
        The answer to one command about *key*, as bytes.

        Raises:
            RedisError, OSError, TimeoutError: no answer, or the server's error; the command may have been carried out.
        """
        (answer,) = await self.send_all(key, [command], seconds=seconds)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def send_all(self, key: str, commands: Sequence[Sequence[Any]], *, seconds: float) -> list[Any]:
        """The answers to commands about *key* or its tag in one round trip; a server's error stands in its place."""
        if not self.is_cluster:
            return await self._round_trip(None, commands, seconds)
        return await self._follow_redirects(key, commands, seconds)

    async def wrong_protocol(self) -> str | None:
        """What the other side seems to speak, if no connection was ever made and it is not what the client speaks."""
        addresses = [] if self._has_connected else addresses_of(self.redis)[:PROBED_ADDRESSES]
        if speaks_tls(self.redis):
            where = await find_plain(addresses)
            hint = "set QUEUE_REDIS_TLS=Disabled, or give the port that speaks TLS"
            return f"{where} speaks Redis without TLS: {hint}" if where else None
        where = await find_tls(addresses)
        return f"{where} speaks TLS: set QUEUE_REDIS_TLS=Verify" if where else None

    async def _follow_redirects(self, key: str, commands: Sequence[Sequence[Any]], seconds: float) -> list[Any]:
        assert isinstance(self.redis, RedisCluster)
        for _ in range(REDIRECTS):
            node = await self._node_of(key, seconds)
            try:
                answers = await self._round_trip(node, commands, seconds)
            except (RedisError, OSError, TimeoutError):
                self._suspects.add(node.name)  # it may be gone: discover the nodes anew before asking it again
                raise
            if not any(type(answer) is MovedError for answer in answers):
                return [_not_yet(key, answer) for answer in answers]
            self._suspects.add(node.name)
        raise NotYet(f"{key} was redirected {REDIRECTS} times: the nodes do not agree yet which of them keeps it")

    async def _node_of(self, key: str, seconds: float) -> ClusterNode:
        """Only a caller whose own node did not answer, or is unknown, waits until the nodes are discovered."""
        assert isinstance(self.redis, RedisCluster)
        await discover_cluster(self.redis, seconds)
        node = _node_serving(self.redis, key)
        if node is None or node.name in self._suspects:
            await _discover(self.redis, seconds, node.name if node else None)
            self._suspects.discard(node.name if node else "")
            node = _node_serving(self.redis, key)
        if node is None:
            raise NotYet(f"no node of the Cluster serves slot {key_slot(key.encode())} of {key}")
        return node

    async def _round_trip(self, node: Any, commands: Sequence[Sequence[Any]], seconds: float) -> list[Any]:
        """
        The connection is used again only if its last answer was read. Otherwise it is closed, because the next command
        on it would read an answer that is not its own.

        Connections stay open between commands, for all links of this client: borrowing one costs redis-py several
        rounds of the event loop. They still belong to the pool, and are closed with it.
        """
        idle = _idle_of.setdefault(self.redis, {}).setdefault(node, [])
        with self._within(seconds):
            cancellations = _cancellations()
            connection = idle.pop() if idle else await self._connected(node)
            self._has_connected = True  # perhaps by another link of this client
            try:
                answers = await self._write_read(connection, commands, cancellations)
            except BaseException:
                await connection.disconnect(nowait=True)
                await self._give_back(node, connection)
                raise
        if connection.is_connected:
            idle.append(connection)
        else:
            await self._give_back(node, connection)
        return answers

    def _within(self, seconds: float) -> Deadline:
        if self._deadlines is None or self._deadlines.loop is not asyncio.get_running_loop():
            self._deadlines = Deadlines()
        return self._deadlines.within(seconds)

    async def _write_read(self, connection: Any, commands: Sequence[Sequence[Any]], cancellations: int) -> list[Any]:
        await _send(connection, b"".join([pack_command(tuple(command)) for command in commands]))
        _raise_if_cancelled(cancellations)
        return [await self._answer(connection) for _ in commands]

    async def _answer(self, connection: Any) -> Any:
        """Without redis-py's own time-out: the caller's covers the round trip, and a blocking command outlasts it."""
        try:
            return await connection.read_response(disable_decoding=True, timeout=math.inf)
        except ResponseError as error:
            return error

    async def _give_back(self, node: Any, connection: Any) -> None:
        pool = node or self.redis.connection_pool  # type: ignore[union-attr]
        released = pool.release(connection)
        if released is not None:
            await released

    async def _connected(self, node: Any) -> Any:
        try:
            with as_redis_errors():
                return await self._borrow(node)
        except RedisConnectionError as error:
            if better := _explained(error, speaks_tls(self.redis)):
                raise better from error.__context__
            raise

    async def _borrow(self, node: Any) -> Any:
        if node is None:
            return await self.redis.connection_pool.get_connection()  # type: ignore[union-attr]
        connection = node.acquire_connection()
        try:
            await connection.connect()
        except BaseException:
            node.release(connection)
            raise
        return connection


def _node_serving(client: RedisCluster, key: str) -> ClusterNode | None:
    """The node that serves a key, as far as the client has discovered."""
    try:
        return client.get_node_from_key(key)
    except SlotNotCoveredError:
        return None


def _not_yet(key: str, answer: Any) -> Any:
    """
    An answer that says "later", as an error. Following ASK would be wrong: Redis answers it for keys that it does not
    have, while other keys of the slot are still on their way, and a script must find all of them.
    """
    if not isinstance(answer, AskError | TryAgainError):
        return answer
    where = f" to {answer.host}:{answer.port}" if isinstance(answer, AskError) else ""
    return NotYet(f"slot {key_slot(key.encode())} of {key} is being moved{where}: wait until the whole slot is there")


def _explained(error: RedisConnectionError, is_tls: bool) -> RedisConnectionError | None:
    """An error that says what to do about a connection that could not be made, if we know."""
    cause = error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return RedisConnectionError(
            f"the certificate of Redis is not trusted ({cause.verify_message.rstrip('.')}): QUEUE_REDIS_TLS_CA must "
            "name the authority that signed it, and QUEUE_REDIS_ADDRESS a host that it is for"
        )
    if not is_tls and (isinstance(cause, ConnectionResetError) or "closed by server" in str(error)):
        return EndedAtOnce(
            f"{error}: a connection ended as it began; if Redis speaks TLS there, set QUEUE_REDIS_TLS=Verify"
        )
    return None


async def _send(connection: Any, packed: bytes) -> None:
    """Without redis-py's own time-out: it costs a task for each command, and the caller's covers the round trip."""
    usual, connection.socket_timeout = connection.socket_timeout, None
    try:
        await connection.send_packed_command(packed)
    finally:
        connection.socket_timeout = usual


def _cancellations() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def _raise_if_cancelled(cancellations: int) -> None:
    """
    redis-py connects within `wait_for`, which on Python 3.11 forgets a cancellation that comes as it ends. The task
    would then go on, and its canceller would wait for ever.

    Raises:
        CancelledError: the task was cancelled since it counted *cancellations*.
    """
    if _cancellations() > cancellations:
        raise asyncio.CancelledError


async def discover_cluster(client: Client, seconds: float) -> None:
    """
    Let a client of a Cluster discover which node serves which slots, unless it has. Other clients need not discover
    anything.

    Raises:
        RedisError, OSError, TimeoutError: no node answers, or the nodes that do are not a whole Cluster.
    """
    if isinstance(client, RedisCluster) and client._initialize:
        await _discover(client, seconds)


async def _discover(client: RedisCluster, seconds: float, failed: str | None = None) -> None:
    """
    Ask the nodes which of them serves what; the one named *failed* last, because it may hang.

    Not by `initialize` of the client: that needs the answer of one particular node, and without it closes all
    connections, even those on which other nodes are about to answer.
    """
    with as_redis_errors():
        async with asyncio.timeout(seconds):
            cancellations = _cancellations()
            try:
                await client.nodes_manager.initialize(last_failed_node_name=failed)
                _raise_if_cancelled(cancellations)
            except BaseException:
                if client._initialize:  # before discovery, its own `aclose` closes nothing
                    await client.nodes_manager.aclose("startup_nodes")
                raise
            client.commands_parser.node = client.get_default_node()  # asked when the user's own commands need it
            client._initialize = False


@contextmanager
def as_redis_errors() -> Iterator[None]:
    """
    Whatever an answer makes redis-py raise becomes a connection error: each server that is not a Redis, or not of the
    stated mode, makes it fail in another way.
    """
    try:
        yield
    except (ShardedQueueError, RedisError, OSError, TimeoutError):
        raise
    except RedisClusterException as error:  # which is not a RedisError, though as transient as one
        raise RedisConnectionError(str(error)) from error
    except Exception as error:
        raise RedisConnectionError(f"the server does not speak the Redis protocol: {error!r}") from error
