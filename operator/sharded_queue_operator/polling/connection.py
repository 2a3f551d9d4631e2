"""The client of one Redis, made with the secrets that its resources name."""

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

from sharded_queue.backends.redis.client import Client, RedisOptions, close, connect
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.errors import ShardedQueueError
from sharded_queue.tube import Keys
from sharded_queue_operator.allowed import Allowed
from sharded_queue_operator.polling.bounded_parser import bound
from sharded_queue_operator.resource.deployment import CA_KEY
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Redis, Resource

ANSWER_SECONDS = 2.0
"""How long one answer of Redis may take before the queue counts as unknown."""

SECRET_SECONDS = 5.0
"""While Redis refuses us, its secrets are read again so often at most."""

TROUBLE = (ShardedQueueError, RedisError, OSError, TimeoutError)


class Place(NamedTuple):
    """One Redis. Its secrets are those of a namespace, so resources of another one do not share it."""

    namespace: str
    redis: Redis

    @classmethod
    def of(cls, resource: Resource) -> "Place":
        addresses = tuple(qualified(address, resource.name.namespace) for address in resource.spec.redis.addresses)
        redis = replace(resource.spec.redis, key_prefix="", addresses=addresses)
        is_secret = redis.auth_secret_name or redis.tls.ca_secret_name
        return cls(resource.name.namespace if is_secret else "", redis)

    @property
    def secrets(self) -> list[Name]:
        names = (self.redis.auth_secret_name, self.redis.tls.ca_secret_name)
        return [Name(self.namespace, name) for name in names if name]


Secret = Mapping[str, Any]
ReadSecret = Callable[[Name], Awaitable[Secret | None]]


class Unasked(ShardedQueueError):
    """A Redis that cannot or may not be asked; *reason* is a word for machines."""

    reason: str


class NotAllowed(Unasked):
    """The resource names a server that this operator does not ask."""

    reason = "RedisNotAllowed"


class BadSecret(Unasked):
    """A secret that the resource names does not serve."""

    reason = "SecretInvalid"


class Missing(BadSecret):
    """It, or what should be in it, is not there."""

    reason = "SecretMissing"


AUTH_KEYS = ("username", "password", "sentinelPassword")


class Connection:
    """The client of one place; made anew when its secrets changed."""

    def __init__(self, place: Place, read_secret: ReadSecret, allowed: Allowed) -> None:
        self.place = place
        self.read_secret = read_secret
        self.allowed = allowed
        self.client: Client | None = None
        self.storages: dict[Keys, RedisStorage] = {}
        self.coordinators: dict[Keys, RedisCoordinator] = {}
        self.secrets: list[Secret] = []
        self.read_at = float("-inf")
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        """For the authority to trust, which must be a file; only where one is named."""
        self.lock = asyncio.Lock()

    async def open(self) -> Client:
        """
        Raises:
            NotAllowed: this operator does not ask such a server.
            BadSecret: a secret is not there, or holds nothing that serves.
            SettingsError: the parts of the address make no sense together.
        """
        async with self.lock:
            if self.client is None:
                self.check_addresses()
                self.secrets = await self.read_secrets()
                self.client = bound(connect(self.options(self.secrets)), self.allowed)
            return self.client

    def check_addresses(self) -> None:
        for address in self.place.redis.addresses:
            if not self.allowed.covers(address):
                raise NotAllowed(f"{address} is not one of the servers that the operator may ask: allowedRedis")

    def storage(self, client: Client, keys: Keys) -> RedisStorage:
        """One for all polls, as a storage keeps its connection."""
        if keys not in self.storages:
            self.storages[keys] = RedisStorage(client, keys=keys)
        return self.storages[keys]

    async def coordinator(self, keys: Keys) -> RedisCoordinator:
        client = await self.open()
        if keys not in self.coordinators:
            self.coordinators[keys] = RedisCoordinator(client)
            self.coordinators[keys].attach(self.storage(client, keys))
        return self.coordinators[keys]

    async def doubted(self) -> None:
        """Redis did not answer, perhaps because its password was changed: take the new one, if there is one."""
        if self.client is None or not self.place.secrets or monotonic() < self.read_at + SECRET_SECONDS:
            return
        with suppress(*TROUBLE):
            if versions(await self.read_secrets()) != versions(self.secrets):
                await self.close()

    async def read_secrets(self) -> list[Secret]:
        self.read_at = monotonic()
        found = []
        for name in self.place.secrets:
            secret = await self.read_secret(name)
            if secret is None:
                raise Missing(f"there is no Secret {name.name}")
            found.append(secret)
        return found

    def options(self, secrets: Sequence[Secret]) -> RedisOptions:
        redis, named = self.place.redis, dict(zip((name.name for name in self.place.secrets), secrets, strict=True))
        auth = texts(redis.auth_secret_name, named)
        return RedisOptions(
            addresses=redis.addresses,
            mode=redis.mode,
            username=auth.get("username"),
            password=auth.get("password"),
            sentinel_master=redis.sentinel_master_name,
            sentinel_password=auth.get("sentinelPassword"),
            tls=redis.tls.mode == "Verify",
            tls_ca=self.authority(redis.tls.ca_secret_name, named),
            timeout_seconds=ANSWER_SECONDS,
        )

    def authority(self, name: str | None, secrets: Mapping[str, Secret]) -> str | None:
        """The file of the authority to trust; None for those of the system."""
        if name is None:
            return None
        data = contents(secrets[name]).get(CA_KEY)
        if data is None:
            raise Missing(f"the Secret {name} has no key {CA_KEY}")
        self.folder = self.folder or tempfile.TemporaryDirectory(prefix="sharded-queue-")
        file = Path(self.folder.name) / CA_KEY
        file.write_bytes(data)
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:
            raise BadSecret(f"the key {CA_KEY} of the Secret {name} holds no certificate of an authority") from error
        return str(file)

    async def close(self) -> None:
        client, self.client = self.client, None
        self.storages.clear()
        self.coordinators.clear()
        if client is not None:
            with suppress(*TROUBLE):
                await close(client)


def qualified(address: str, namespace: str) -> str:
    """
    A Service's short name means the one beside the resource, as for the worker pods, wherever the operator runs.
    """
    host, _, port = address.rpartition(":")
    is_short = not any(sign in host for sign in ".:") and host != "localhost"
    return f"{host}.{namespace}.svc:{port}" if is_short else address


def contents(secret: Secret) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}


def texts(name: str | None, secrets: Mapping[str, Secret]) -> dict[str, str]:
    """What a Secret says of a user; nothing without a name."""
    data = contents(secrets[name]) if name else {}
    try:
        return {key: data[key].decode() for key in AUTH_KEYS if key in data}
    except UnicodeDecodeError as error:
        raise BadSecret(f"a key of the Secret {name} is not text: {error.reason}") from error


def versions(secrets: Sequence[Secret]) -> list[str]:
    return [secret["metadata"]["resourceVersion"] for secret in secrets]
