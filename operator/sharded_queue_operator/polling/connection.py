"""
One Redis as resources name it, and the client that talks to it.

The client is made from the Secrets of the resource, and made again after they change.
"""

import asyncio
import base64
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from msgspec.structs import replace
from redis.exceptions import RedisError

from sharded_queue.backends.redis.bounded_parser import Budget
from sharded_queue.backends.redis.client import Client, RedisOptions, close, connect
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.errors import ShardedQueueError
from sharded_queue.tube import Keys
from sharded_queue_operator.allowed import Allowed
from sharded_queue_operator.polling.guard import guard
from sharded_queue_operator.resource.deployment import CA_KEY
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Redis, Resource

ANSWER_SECONDS = 2.0
"""How long Redis may take for one answer before the queue counts as unknown."""

SECRET_SECONDS = 5.0
"""While Redis gives no answer, its Secrets are read again at most once in this time."""

REDIS_FAILURES = (ShardedQueueError, RedisError, OSError, TimeoutError)
"""What a call to Redis may raise. Anything else is a bug."""

AUTH_KEYS = ("username", "password", "sentinelPassword")

Secret = Mapping[str, Any]
ReadSecret = Callable[[Name], Awaitable[Secret | None]]


class RedisTarget(NamedTuple):
    """
    A Redis and the namespace of the Secrets that open it, so that namespaces never share a connection made with a
    Secret. Without Secrets *namespace* is empty and all namespaces share the target.
    """

    namespace: str
    redis: Redis

    @classmethod
    def of(cls, resource: Resource) -> "RedisTarget":
        addresses = tuple(_qualified(address, resource.name.namespace) for address in resource.spec.redis.addresses)
        redis = replace(resource.spec.redis, key_prefix="", addresses=addresses)
        has_secrets = redis.auth_secret_name or redis.tls.ca_secret_name
        return cls(resource.name.namespace if has_secrets else "", redis)

    @property
    def secrets(self) -> list[Name]:
        names = (self.redis.auth_secret_name, self.redis.tls.ca_secret_name)
        return [Name(self.namespace, name) for name in names if name]


class CannotConnect(ShardedQueueError):
    """The resource's own configuration rules a connection out; *reason* is a word for machines."""

    reason: str


class RedisNotAllowed(CannotConnect):
    """The resource names a server that this operator may not connect to."""

    reason = "RedisNotAllowed"


class SecretInvalid(CannotConnect):
    """A Secret that the resource names holds something unusable."""

    reason = "SecretInvalid"


class SecretMissing(SecretInvalid):
    """A Secret that the resource names, or a key of it, does not exist."""

    reason = "SecretMissing"


class Connection:
    """The client of one target, with the storages and coordinators that share it."""

    def __init__(self, target: RedisTarget, read_secret: ReadSecret, allowed: Allowed, budget: Budget) -> None:
        self.target = target
        self.client: Client | None = None
        """The client in use; None until the first `open`, and after the Secrets changed."""
        self._read_secret = read_secret
        self._allowed = allowed
        self._budget = budget
        self._storages: dict[Keys, RedisStorage] = {}
        self._coordinators: dict[Keys, RedisCoordinator] = {}
        self._secrets: list[Secret] = []
        self._secrets_read_at = float("-inf")
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        """Holds the CA certificate, which TLS takes from a file; None unless the resource names one."""
        self._lock = asyncio.Lock()

    async def open(self) -> Client:
        """
        The client, made on the first call.

        Raises:
            RedisNotAllowed: an address is not among the servers that the operator may connect to.
            SecretInvalid: a Secret is missing or unusable.
            SettingsError: the parts of the address contradict each other.
        """
        async with self._lock:
            if self.client is None:
                self._check_addresses()
                self._secrets = await self._read_secrets()
                self.client = guard(connect(self._options(self._secrets)), self._allowed, self._budget)
            return self.client

    def storage(self, client: Client, keys: Keys) -> RedisStorage:
        """One storage for all polls with the same *keys*, as a storage keeps its connection."""
        if keys not in self._storages:
            self._storages[keys] = RedisStorage(client, keys=keys)
        return self._storages[keys]

    async def coordinator(self, keys: Keys) -> RedisCoordinator:
        client = await self.open()
        if keys not in self._coordinators:
            self._coordinators[keys] = RedisCoordinator(client)
            self._coordinators[keys].attach(self.storage(client, keys))
        return self._coordinators[keys]

    async def refresh_secrets(self) -> None:
        """Drop the client if its Secrets changed: a Redis that gives no answer may have a new password."""
        if self.client is None or not self.target.secrets or monotonic() < self._secrets_read_at + SECRET_SECONDS:
            return
        with suppress(*REDIS_FAILURES):
            if _versions(await self._read_secrets()) != _versions(self._secrets):
                await self.close()

    async def close(self) -> None:
        """Close the client; `open` makes another one."""
        client, self.client = self.client, None
        self._storages.clear()
        self._coordinators.clear()
        if client is not None:
            with suppress(*REDIS_FAILURES):
                await close(client)

    async def dispose(self) -> None:
        """Close for good."""
        await self.close()
        if self._folder:
            self._folder.cleanup()

    def _check_addresses(self) -> None:
        for address in self.target.redis.addresses:
            if not self._allowed.covers(address):
                raise RedisNotAllowed(f"{address} is not a server that the operator may connect to (allowedRedis)")

    async def _read_secrets(self) -> list[Secret]:
        self._secrets_read_at = monotonic()
        found = []
        for name in self.target.secrets:
            secret = await self._read_secret(name)
            if secret is None:
                raise SecretMissing(f"the Secret {name.name} does not exist")
            found.append(secret)
        return found

    def _options(self, secrets: Sequence[Secret]) -> RedisOptions:
        redis, named = self.target.redis, dict(zip((name.name for name in self.target.secrets), secrets, strict=True))
        auth = _auth(redis.auth_secret_name, named)
        return RedisOptions(
            addresses=redis.addresses,
            mode=redis.mode,
            username=auth.get("username"),
            password=auth.get("password"),
            sentinel_master=redis.sentinel_master_name,
            sentinel_password=auth.get("sentinelPassword"),
            tls=redis.tls.mode == "Verify",
            tls_ca=self._ca_file(redis.tls.ca_secret_name, named),
            timeout_seconds=ANSWER_SECONDS,
        )

    def _ca_file(self, name: str | None, secrets: Mapping[str, Secret]) -> str | None:
        """A file with the CA certificate to trust; None for those of the system."""
        if name is None:
            return None
        data = _contents(secrets[name]).get(CA_KEY)
        if data is None:
            raise SecretMissing(f"the Secret {name} has no key {CA_KEY}")
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="sharded-queue-")
        file = Path(self._folder.name) / CA_KEY
        file.write_bytes(data)
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:
            raise SecretInvalid(f"the key {CA_KEY} of the Secret {name} does not hold a CA certificate") from error
        return str(file)


def is_cancelled() -> bool:
    """
    Whether this task was cancelled. redis-py sends within `wait_for`, which on Python 3.11 swallows a cancellation
    that arrives while the command is being sent.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _qualified(address: str, namespace: str) -> str:
    """A short name means the Service in the resource's own namespace, as it does for the worker pods."""
    host, _, port = address.rpartition(":")
    is_short = not any(sign in host for sign in ".:") and host != "localhost"
    return f"{host}.{namespace}.svc:{port}" if is_short else address


def _contents(secret: Secret) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}


def _auth(name: str | None, secrets: Mapping[str, Secret]) -> dict[str, str]:
    """The credentials in a Secret; none without a *name*."""
    data = _contents(secrets[name]) if name else {}
    try:
        return {key: data[key].decode() for key in AUTH_KEYS if key in data}
    except UnicodeDecodeError as error:
        raise SecretInvalid(f"a key of the Secret {name} is not text: {error.reason}") from error


def _versions(secrets: Sequence[Secret]) -> list[str]:
    return [secret["metadata"]["resourceVersion"] for secret in secrets]
