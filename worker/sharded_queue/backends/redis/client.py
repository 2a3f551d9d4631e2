"""Clients of Redis: made from discrete fields, cloned for another event loop, and closed with all they opened."""

import ssl
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AuthenticationError,
)

from sharded_queue.backends.redis.bounded_parser import BoundedParser, bind_parser
from sharded_queue.backends.redis.url import Mode, parse_url
from sharded_queue.errors import SettingsError
from sharded_queue.settings import ENV_PREFIX, Settings, settings

Client = Redis | RedisCluster
CLUSTER_OPTIONS = frozenset(signature(RedisCluster).parameters)


IN_A_URL = (
    "redis_address",
    "redis_database",
    "redis_mode",
    "redis_password",
    "redis_sentinel_master",
    "redis_tls",
    "redis_username",
)
"""The settings that `redis_url` stands for."""


class Hidden(str):
    """A password: a text that never shows itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """
    Where Redis is, in parts, so that only these parts decide about files, sockets and certificates. `from_url` reads
    some of them from a URL.

    *addresses*: `host:port`, one for Standalone, the sentinels for Sentinel, any nodes for Cluster. *database*: its
    number; a Cluster has only 0. *tls_ca*: a file; None trusts the system's authorities. *timeout_seconds*: to connect,
    and for an answer. *auth_folder*: where the files `username`, `password` and `sentinelPassword`
    are read at each new connection, unless they are given here. Errors never show a password.
    """

    addresses: tuple[str, ...] = ("localhost:6379",)
    mode: Mode = "Standalone"
    username: str | None = None
    password: str | None = None
    sentinel_master: str | None = None
    sentinel_password: str | None = None
    tls: bool = False
    tls_ca: str | None = None
    timeout_seconds: float = 5.0
    auth_folder: str | None = None
    database: int = 0

    def __repr__(self) -> str:
        addresses = ",".join(map(without_password, self.addresses))
        database = f" database {self.database}" if self.database else ""
        return f"RedisOptions({self.mode} {addresses}{database}{' tls' if self.tls else ''})"

    def __post_init__(self) -> None:
        for name in ("password", "sentinel_password"):
            if (words := getattr(self, name)) is not None:
                object.__setattr__(self, name, Hidden(words))

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        sentinel_password: str | None = None,
        tls_ca: str | None = None,
        timeout_seconds: float = 5.0,
        auth_folder: str | None = None,
    ) -> "RedisOptions":
        """
        The options that a URL and the arguments name, one of

            redis://user:password@host:6379/3                       database 3; 0 by default
            redis+sentinel://user:password@host:26379,…/master/3    the sentinels, and the user of the master
            redis+cluster://user:password@host:6379,…               any nodes; it has only database 0

        or the same with `rediss` for `redis`, which is TLS with a verified certificate. User and password are
        percent-encoded; they and the ports, which are those above by default, may be left out. A URL has no query
        parameters: what it cannot say are the other arguments, as in `RedisOptions`.

        Raises:
            SettingsError: this is no such URL. The error repeats no part of it that may hold a password.
        """
        try:
            parts = parse_url(url)
        except SettingsError as error:
            raise SettingsError(f"the URL of Redis {error}") from None
        return cls(
            **parts._asdict(),
            sentinel_password=sentinel_password,
            tls_ca=tls_ca,
            timeout_seconds=timeout_seconds,
            auth_folder=auth_folder,
        )

    @classmethod
    def from_settings(cls, source: Settings = settings) -> "RedisOptions":
        """
        Raises:
            SettingsError: `redis_url` is not a URL of Redis, or is set beside a setting that it stands for.
        """
        if source.redis_url:
            return cls._from_url_of(source, source.redis_url.get_secret_value())
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
            database=source.redis_database,
        )

    @classmethod
    def _from_url_of(cls, source: Settings, url: str) -> "RedisOptions":
        if beside := [f"{ENV_PREFIX}{name.upper()}" for name in IN_A_URL if name in source.given]:
            raise SettingsError(
                f"{ENV_PREFIX}REDIS_URL and {', '.join(beside)} are set, but the URL stands for them: leave out one or "
                "the other"
            )
        password = source.redis_sentinel_password
        try:
            return cls.from_url(
                url,
                sentinel_password=password.get_secret_value() if password else None,
                tls_ca=source.redis_tls_ca,
                timeout_seconds=source.redis_timeout,
                auth_folder=source.redis_auth_folder,
            )
        except SettingsError as error:
            raise SettingsError(f"{ENV_PREFIX}REDIS_URL: {error}") from None


class FolderCredentials(CredentialProvider):
    """A user and a password from files, read at each new connection, as a mounted Secret changes in place."""

    def __init__(self, folder: str, user: str, password: str) -> None:
        self.user, self.password = Path(folder) / user, Path(folder) / password

    def get_credentials(self) -> tuple[()] | tuple[str] | tuple[str, str]:  # type: ignore[override]  # none is possible
        """
        Raises:
            AuthenticationError: a file exists and cannot be read.
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
    A client for these options, by default those of the settings. It sends nothing yet.

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
        if options.database:
            raise SettingsError(f"redis_database is {options.database}, but a Cluster has no other database than 0")
        return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in nodes], **common)
    if options.mode == "Sentinel":
        return _behind_sentinel(options, nodes, common)
    if len(nodes) > 1:
        raise SettingsError(f"redis_address has {len(nodes)} addresses, which needs redis_mode Sentinel or Cluster")
    return Redis(host=nodes[0][0], port=nodes[0][1], db=options.database, max_connections=1000, **common)


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
    client: Redis = sentinel.master_for(options.sentinel_master, db=options.database, **common)
    return client


def clone(client: Client) -> Client:
    """A client to the same Redis, with connections of its own: those of asyncio belong to one event loop."""
    return _clone_cluster(client) if isinstance(client, RedisCluster) else _clone(client)


def _clone_cluster(client: RedisCluster) -> RedisCluster:
    nodes, learned = client.nodes_manager, client.nodes_manager.startup_nodes.values()
    given = {name: value for name, value in client.connection_kwargs.items() if name in CLUSTER_OPTIONS}
    made = RedisCluster(
        startup_nodes=[ClusterNode(node.host, node.port) for node in learned],
        require_full_coverage=nodes.require_full_coverage,
        dynamic_startup_nodes=nodes._dynamic_startup_nodes,
        address_remap=nodes.address_remap,
        ssl=speaks_tls(client),
        **{name: value for name, value in given.items() if value is not None},
    )
    parser = client.connection_kwargs.get("parser_class")
    if isinstance(parser, type) and issubclass(parser, BoundedParser):
        bind_parser(made, parser)
    return made


def speaks_tls(client: Client) -> bool:
    if isinstance(client, RedisCluster):
        return issubclass(client.connection_kwargs["connection_class"], SSLConnection)
    return issubclass(client.connection_pool.connection_class, SSLConnection)


def addresses_of(client: Client) -> list[tuple[str, int]]:
    """Where a client begins: its server, its sentinels, or the nodes that it knows. None for a Unix socket."""
    if isinstance(client, RedisCluster):
        return [(node.host, int(node.port)) for node in client.nodes_manager.startup_nodes.values()]
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        return [address for each in pool.sentinel_manager.sentinels for address in addresses_of(each)]
    host, port = pool.connection_kwargs.get("host"), pool.connection_kwargs.get("port", 6379)
    return [(host, port)] if host else []


def _clone(client: Redis) -> Redis:
    pool = client.connection_pool
    options = dict(pool.connection_kwargs)
    options |= {"connection_class": pool.connection_class, "max_connections": pool.max_connections}
    if not isinstance(pool, SentinelConnectionPool):
        return Redis.from_pool(ConnectionPool(**options))
    asking = pool.sentinel_manager
    sentinel = Sentinel([], asking.min_other_sentinels, force_master_ip=asking._force_master_ip)  # type: ignore[no-untyped-call]
    sentinel.sentinels = [_clone(each) for each in asking.sentinels]
    options |= {"is_master": pool.is_master, "check_connection": pool.check_connection}
    options.pop("connection_pool")  # the pool that they were for
    return Redis.from_pool(SentinelConnectionPool(pool.service_name, sentinel, **options))  # type: ignore[no-untyped-call]


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
    """The part of an address that is safe to show: a URL may hold a password, or the beginning of one."""
    scheme, _, rest = address.rpartition("://")
    if "@" in rest:
        rest = f"…@{rest.rpartition('@')[2]}"
    elif scheme:
        rest = "…"
    return f"{scheme}://{rest}" if scheme else rest
