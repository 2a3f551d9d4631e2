"""
How this library talks to Redis: clients from discrete fields, and one command at a time, sent once.

redis-py sends a command again when its answer was late, without telling. Our scripts must know that they are sent again
(see `Scripts`), so a `Link` takes connections from the user's client and sends on them itself.
"""

import asyncio
import math
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

from hiredis import pack_command
from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AskError,
    AuthenticationError,
    MovedError,
    RedisClusterException,
    RedisError,
    ResponseError,
    SlotNotCoveredError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from sharded_queue.errors import SettingsError, ShardedQueueError
from sharded_queue.settings import Settings, settings

Client = Redis | RedisCluster
REDIRECTS = 5
CLUSTER_OPTIONS = frozenset(signature(RedisCluster).parameters)


class NotYet(RedisError):
    """Redis answered that it did nothing, and may do it when it is asked again."""


class Hidden(str):
    """A password: a text like any other, but for what is shown of it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """
    Where Redis is, in parts: no URL, so that nothing but these parts decides about files, sockets and certificates.

    *addresses*: `host:port`, one for Standalone, the sentinels for Sentinel, any nodes for Cluster. *tls_ca*: a file;
    None trusts the system's authorities. *auth_folder*: where the files `username`, `password` and `sentinelPassword`
    are read at each new connection, unless they are given here. Errors never show a password.
    """

    addresses: tuple[str, ...] = ("localhost:6379",)
    mode: Literal["Standalone", "Sentinel", "Cluster"] = "Standalone"
    username: str | None = None
    password: str | None = None
    sentinel_master: str | None = None
    sentinel_password: str | None = None
    tls: bool = False
    tls_ca: str | None = None
    timeout_seconds: float = 5.0
    auth_folder: str | None = None

    def __repr__(self) -> str:
        addresses = ",".join(map(without_password, self.addresses))
        return f"RedisOptions({self.mode} {addresses}{' tls' if self.tls else ''})"

    def __post_init__(self) -> None:
        for name in ("password", "sentinel_password"):
            if (words := getattr(self, name)) is not None:
                object.__setattr__(self, name, Hidden(words))

    @classmethod
    def from_settings(cls, source: Settings = settings) -> "RedisOptions":
        return cls(
            addresses=source.redis_address,
            mode=source.redis_mode,
            username=source.redis_username,
            password=source.redis_password.get_secret_value() if source.redis_password else None,
            sentinel_master=source.redis_sentinel_master,
            sentinel_password=source.redis_sentinel_password.get_secret_value()
            if source.redis_sentinel_password
            else None,
            tls=source.redis_tls == "Verify",
            tls_ca=source.redis_tls_ca,
            timeout_seconds=source.redis_timeout,
            auth_folder=source.redis_auth_folder,
        )


class FolderCredentials(CredentialProvider):
    """A user and a password from files, read at each new connection: a Secret that is mounted changes there."""

    def __init__(self, folder: str, user: str, password: str) -> None:
        self.user, self.password = Path(folder) / user, Path(folder) / password

    def get_credentials(self) -> tuple[()] | tuple[str] | tuple[str, str]:  # type: ignore[override]  # none is possible
        """
        Raises:
            AuthenticationError: a file is there and cannot be read.
        """
        user, password = _text_of(self.user), _text_of(self.password)
        if password is None:
            return ()
        return (user, password) if user else (password,)


def _text_of(file: Path) -> str | None:
    try:
        return file.read_text().rstrip("\r\n") or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise AuthenticationError(f"{file} cannot be read: {type(error).__name__}") from error


def connect(options: RedisOptions | None = None) -> Client:
    """
    A client for these options (by default those of the settings); nothing is sent yet.

    Raises:
        SettingsError: an address or a combination of options makes no sense, or the authority cannot be read.
    """
    options = options or RedisOptions.from_settings()
    nodes = [parse_address(address) for address in options.addresses]
    if not nodes:
        raise SettingsError("redis_address is empty: give at least one host:port")
    common: dict[str, Any] = {
        **_credentials(options),
        "socket_timeout": options.timeout_seconds,
        "socket_connect_timeout": options.timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
    }
    _check_authority(options)
    if options.tls:
        common |= {"ssl": True, "ssl_ca_certs": options.tls_ca, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    if options.mode == "Cluster":
        return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in nodes], **common)
    if options.mode == "Sentinel":
        return _behind_sentinel(options, nodes, common)
    if len(nodes) > 1:
        raise SettingsError(f"redis_address has {len(nodes)} addresses, which needs redis_mode Sentinel or Cluster")
    return Redis(host=nodes[0][0], port=nodes[0][1], max_connections=1000, **common)


def _credentials(options: RedisOptions) -> dict[str, Any]:
    if options.auth_folder and not (options.username or options.password):
        return {"credential_provider": FolderCredentials(options.auth_folder, "username", "password")}
    return {"username": options.username, "password": options.password}


def _sentinel_credentials(options: RedisOptions) -> dict[str, Any]:
    none: dict[str, Any] = {"username": None, "password": None, "credential_provider": None}
    if options.auth_folder and not options.sentinel_password:
        provider = FolderCredentials(options.auth_folder, "sentinelUsername", "sentinelPassword")
        return none | {"credential_provider": provider}
    return none | {"password": options.sentinel_password}


def _check_authority(options: RedisOptions) -> None:
    if not options.tls_ca:
        return
    if not options.tls:
        raise SettingsError("redis_tls_ca is set and redis_tls is Disabled: set it to Verify, or leave both out")
    try:
        ssl.create_default_context(cafile=options.tls_ca)
    except OSError as error:
        raise SettingsError(f"redis_tls_ca {options.tls_ca!r} cannot be read: {error}") from error


def _behind_sentinel(options: RedisOptions, nodes: list[tuple[str, int]], common: dict[str, Any]) -> Redis:
    if not options.sentinel_master:
        raise SettingsError("redis_mode Sentinel needs redis_sentinel_master, the name of the master")
    asking = common | _sentinel_credentials(options)
    sentinel = Sentinel(nodes, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(options.sentinel_master, **common)
    return client


def twin(client: Client) -> Client:
    """A client to the same Redis, with connections of its own: those of asyncio belong to one event loop."""
    return _twin_of_cluster(client) if isinstance(client, RedisCluster) else _twin(client)


def _twin_of_cluster(client: RedisCluster) -> RedisCluster:
    nodes, learned = client.nodes_manager, client.nodes_manager.startup_nodes.values()
    given = {name: value for name, value in client.connection_kwargs.items() if name in CLUSTER_OPTIONS}
    return RedisCluster(
        startup_nodes=[ClusterNode(node.host, node.port) for node in learned],
        require_full_coverage=nodes.require_full_coverage,
        dynamic_startup_nodes=nodes._dynamic_startup_nodes,
        address_remap=nodes.address_remap,
        ssl=_speaks_tls(client),
        **{name: value for name, value in given.items() if value is not None},
    )


def _speaks_tls(client: Client) -> bool:
    if isinstance(client, RedisCluster):
        return issubclass(client.connection_kwargs["connection_class"], SSLConnection)
    return issubclass(client.connection_pool.connection_class, SSLConnection)


def _twin(client: Redis) -> Redis:
    pool = client.connection_pool
    options = dict(pool.connection_kwargs)
    options |= {"connection_class": pool.connection_class, "max_connections": pool.max_connections}
    if not isinstance(pool, SentinelConnectionPool):
        return Redis.from_pool(ConnectionPool(**options))
    asking = pool.sentinel_manager
    sentinel = Sentinel([], asking.min_other_sentinels, force_master_ip=asking._force_master_ip)  # type: ignore[no-untyped-call]
    sentinel.sentinels = [_twin(each) for each in asking.sentinels]
    options |= {"is_master": pool.is_master, "check_connection": pool.check_connection}
    options.pop("connection_pool")  # the pool that they were for
    return Redis.from_pool(SentinelConnectionPool(pool.service_name, sentinel, **options))  # type: ignore[no-untyped-call]


async def introduce(client: Client, seconds: float) -> None:
    """
    Let a client of a Cluster learn which node keeps what, unless it knows. No other client has anything to learn.

    Raises:
        RedisError, OSError, TimeoutError: no node tells, or those that do are no whole Cluster.
    """
    if isinstance(client, RedisCluster) and client._initialize:
        await _learn(client, seconds)


async def _learn(client: RedisCluster, seconds: float, failed: str | None = None) -> None:
    """
    Ask the nodes for the layout of the Cluster; the one named *failed* last, because it may hang.

    Not by `initialize` of the client: it needs an answer of one certain node, and without it closes all connections,
    also those on which other nodes are about to answer.
    """
    with understood():
        async with asyncio.timeout(seconds):
            cancellations = _cancellations()
            try:
                await client.nodes_manager.initialize(last_failed_node_name=failed)
                _heed(cancellations)
            except BaseException:
                if client._initialize:  # as long as it knows nothing, its `aclose` closes nothing
                    await client.nodes_manager.aclose("startup_nodes")
                raise
            client.commands_parser.node = client.get_default_node()  # asked when the user's own commands need it
            client._initialize = False


@contextmanager
def understood() -> Iterator[None]:
    """
    Whatever an answer makes redis-py do becomes an error of the connection: each server that is no Redis, or not of the
    kind that was said, makes it fall over in another way.
    """
    try:
        yield
    except (ShardedQueueError, RedisError, OSError, TimeoutError):
        raise
    except RedisClusterException as error:  # which is no RedisError, though it may pass like any other
        raise RedisConnectionError(str(error)) from error
    except Exception as error:
        raise RedisConnectionError(f"the server does not speak the Redis protocol: {error!r}") from error


async def close(client: Client) -> None:
    """Close a client with all it opened; redis-py leaves the connections to sentinels open."""
    await client.aclose()
    pool = None if isinstance(client, RedisCluster) else client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def parse_address(address: str) -> tuple[str, int]:
    """
    Raises:
        SettingsError: this is not `host:port`.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdigit() and 0 < int(port) < 65536) or "/" in host or "@" in host:
        hint = "; user and password have settings of their own" if "@" in address or "://" in address else ""
        shown = without_password(address)
        raise SettingsError(f"redis_address {shown!r} must be host:port, with a port from 1 to 65535{hint}")
    return host.strip("[]"), int(port)


def without_password(address: str) -> str:
    """What may be shown of something that should be an address: a URL may hold a password, or the beginning of one."""
    scheme, _, rest = address.rpartition("://")
    if "@" in rest:
        rest = f"…@{rest.rpartition('@')[2]}"
    elif scheme:
        rest = "…"
    return f"{scheme}://{rest}" if scheme else rest


_idle_of: WeakKeyDictionary[Client, dict[Any, list[Any]]] = WeakKeyDictionary()
"""Connections that are kept, by client and node. Not by link: links come and go, and would take them from the pool."""


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
        self._doubted: set[str] = set()

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
            return await self._exchange(None, commands, seconds)
        return await self._exchange_redirected(key, commands, seconds)

    async def _exchange_redirected(self, key: str, commands: Sequence[Sequence[Any]], seconds: float) -> list[Any]:
        assert isinstance(self.redis, RedisCluster)
        for _ in range(REDIRECTS):
            node = await self._node_of(key, seconds)
            try:
                answers = await self._exchange(node, commands, seconds)
            except (RedisError, OSError, TimeoutError):
                self._doubted.add(node.name)  # it may be gone: learn the layout anew before it is asked again
                raise
            if not any(type(answer) is MovedError for answer in answers):
                return [_postponed(key, answer) for answer in answers]
            self._doubted.add(node.name)
        raise NotYet(f"{key} was redirected {REDIRECTS} times: the nodes do not agree yet which of them keeps it")

    async def _node_of(self, key: str, seconds: float) -> ClusterNode:
        """Only a caller whose own node did not answer, or is not known, waits for the layout."""
        assert isinstance(self.redis, RedisCluster)
        await introduce(self.redis, seconds)
        node = _keeper(self.redis, key)
        if node is None or node.name in self._doubted:
            await _learn(self.redis, seconds, node.name if node else None)
            self._doubted.discard(node.name if node else "")
            node = _keeper(self.redis, key)
        if node is None:
            raise NotYet(f"no node of the Cluster serves slot {key_slot(key.encode())} of {key}")
        return node

    async def _exchange(self, node: Any, commands: Sequence[Sequence[Any]], seconds: float) -> list[Any]:
        """
        The connection is used again only when its last answer was read; otherwise it is closed, for the next command on
        it would read an answer that is not its own.

        It is kept between commands, for all links of this client: to borrow one costs redis-py several rounds of the
        event loop. It is the pool's all the same, and is closed with it.
        """
        idle = _idle_of.setdefault(self.redis, {}).setdefault(node, [])
        async with asyncio.timeout(seconds):
            cancellations = _cancellations()
            connection = idle.pop() if idle else await self._connected(node)
            try:
                answers = await self._converse(connection, commands, cancellations)
            except BaseException:
                await connection.disconnect(nowait=True)
                await self._give_back(node, connection)
                raise
        if connection.is_connected:
            idle.append(connection)
        else:
            await self._give_back(node, connection)
        return answers

    async def _converse(self, connection: Any, commands: Sequence[Sequence[Any]], cancellations: int) -> list[Any]:
        await _send(connection, b"".join([pack_command(tuple(command)) for command in commands]))
        _heed(cancellations)
        return [await self._answer(connection) for _ in commands]

    async def _answer(self, connection: Any) -> Any:
        """No time-out of redis-py's own: the caller's covers the whole exchange, and blocking takes longer than it."""
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
            with understood():
                return await self._borrow(node)
        except RedisConnectionError as error:
            hint = _hint(error, _speaks_tls(self.redis))
            if hint:
                raise RedisConnectionError(hint) from error.__context__
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


def _keeper(client: RedisCluster, key: str) -> ClusterNode | None:
    """The node that serves a key, as far as the client knows."""
    try:
        return client.get_node_from_key(key)
    except SlotNotCoveredError:
        return None


def _postponed(key: str, answer: Any) -> Any:
    """
    To follow ASK would be wrong: it is said of keys that are not there, and those that a script declares never are. The
    other keys of the slot are still on their way, and a script must find all of them.
    """
    if not isinstance(answer, AskError | TryAgainError):
        return answer
    where = f" to {answer.host}:{answer.port}" if isinstance(answer, AskError) else ""
    return NotYet(f"slot {key_slot(key.encode())} of {key} is being moved{where}: wait until the whole slot is there")


def _hint(error: RedisConnectionError, is_tls: bool) -> str | None:
    """What to do about a connection that could not be made, where that is known."""
    cause = error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the certificate of Redis is not trusted ({cause.verify_message.rstrip('.')}): QUEUE_REDIS_TLS_CA must "
            "name the authority that signed it, and QUEUE_REDIS_ADDRESS a host that it is for"
        )
    if not is_tls and (isinstance(cause, ConnectionResetError) or "closed by server" in str(error)):
        return f"{error}: a connection ended as it began; if Redis speaks TLS there, set QUEUE_REDIS_TLS=Verify"
    return None


async def _send(connection: Any, packed: bytes) -> None:
    """Without redis-py's own time-out: it costs a task for each command, and the caller's covers the whole exchange."""
    usual, connection.socket_timeout = connection.socket_timeout, None
    try:
        await connection.send_packed_command(packed)
    finally:
        connection.socket_timeout = usual


def _cancellations() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def _heed(cancellations: int) -> None:
    """
    redis-py connects within `wait_for`, which on Python 3.11 forgets a cancellation that comes as it ends: the answer
    would then be waited for by nobody, and whoever cancelled would wait for ever.

    Raises:
        CancelledError: there were more than so many.
    """
    if _cancellations() > cancellations:
        raise asyncio.CancelledError
