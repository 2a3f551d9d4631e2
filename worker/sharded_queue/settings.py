"""
Every setting, once: its meaning, its unit, why this default, and what another value costs.

Settings are read from the environment (`QUEUE_` and the field's name in capitals) on the first import, and can be
assigned afterwards (`settings.worker_batch_size = 64`). Both ways are checked, and an error names the variable, the
value and the bound.
"""

import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sharded_queue.errors import SettingsError

ENV_PREFIX = "QUEUE_"
PROGRAMS = ("sharded-queue", "sharded-queue-operator")
MODULES = ("sharded_queue", "sharded_queue_operator")

Prefix = Annotated[str, Field(max_length=128, pattern=r"^[^{}\s]*$")]
"""Printable and without braces, because the first braces of a key are the hash tag of its shard."""


CLOSE = 0.8
"""How alike two names have to be, from 0 to 1, for one to count as a typo of the other."""

INJECTED = re.compile(r"(?:^|_)(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_\w+)$")
"""
What Kubernetes adds to a pod's environment for each Service of its namespace. For a Service `queue-redis`, these are
QUEUE_REDIS_SERVICE_HOST, QUEUE_REDIS_PORT_6379_TCP_ADDR and more.
"""

INJECTED_PORT = re.compile(r"^(?:tcp|udp|sctp)://")
"""What Kubernetes writes into a name that may be ours: QUEUE_METRICS_PORT, for a Service `queue-metrics`."""


WORKER_NAME = r"^[^\s/]{1,200}$"
"""A lease holds the name between spaces and before a slash."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, validate_assignment=True, extra="forbid", case_sensitive=False
    )

    coordinator_delay: float = Field(1.0, gt=0, le=3600)
    """
    Seconds between polls when all queues are empty. A safety net, since wake-ups do not wait for it. While nothing
    happens, it doubles up to four times this value, so an idle worker sends less than one command a second.
    """

    coordinator_lease: float = Field(15.0, ge=0.2, le=3600)
    """
    Seconds that a thread stays bound without renewal, and so how long a crashed worker blocks its threads. A shorter
    lease costs more renewals (three per lease, each one command for all threads of a worker) and tolerates only shorter
    pauses of Redis.
    """

    coordinator_prefix: Prefix = "lock_"
    """Key prefix of binds."""

    coordinator_timeout: float = Field(86400.0, gt=0, le=31_536_000)
    """Seconds after which a batch that is still in its handler counts as hung: its lease is no longer renewed."""

    default_priority: int = Field(0, gt=-(2**31), lt=2**31)
    """Priority of a request whose handler defines no `route`."""

    default_thread: int | str = 0
    """Thread of a request whose handler defines no `route`."""

    log_format: Literal["text", "json"] = "text"
    """How `sharded-queue worker` writes each log entry: as a line of text, or as a JSON object."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The lowest level that `sharded-queue worker` logs."""

    metrics_port: int = Field(9090, ge=0, le=65535)
    """
    Port of `/metrics`, `/livez` and `/readyz` of a worker process; 0 picks a free one. Without this setting, a worker
    picks a free port if the default one is taken, and logs which.
    """

    metrics_tubes: int = Field(10, ge=0, le=1000)
    """Tubes of a handler that `/metrics` lists one by one, the oldest requests first. The rest are summed."""

    redis_address: Annotated[tuple[str, ...], NoDecode] = ("localhost:6379",)
    """`host:port` of Redis. Separate several with commas, for Sentinel and Cluster."""

    redis_auth_folder: str | None = None
    """
    A folder with the files `username`, `password` and `sentinelPassword`, each optional, such as a mounted Secret. The
    files are read again for each new connection, so a changed password takes effect. `redis_username` and
    `redis_password` take precedence.
    """

    redis_database: int = Field(0, ge=0, lt=10**9)
    """The number of the database, not on a Cluster, which has only 0. The operator reads database 0."""

    redis_eviction: Literal["Refused", "Accepted"] = "Refused"
    """Whether to use a Redis that may evict keys (a maxmemory-policy other than noeviction), and so lose requests."""

    redis_mode: Literal["Standalone", "Sentinel", "Cluster"] = "Standalone"
    """What runs at `redis_address`."""

    redis_password: SecretStr | None = None
    """The password of Redis."""

    redis_retry: float = Field(30.0, ge=0, le=300)
    """
    Seconds for which a registration is sent again while Redis does not answer; a worker tries for ever. Redis
    recognises a repeated registration for ten minutes, hence the bound.
    """

    redis_sentinel_master: str | None = None
    """The name of the master, in Sentinel mode."""

    redis_sentinel_password: SecretStr | None = None
    """The password of the Sentinels, where they have one of their own."""

    redis_timeout: float = Field(5.0, ge=0.05, le=300)
    """Seconds to wait for one answer of Redis before the command is sent again."""

    redis_tls: Literal["Disabled", "Verify"] = "Disabled"
    """Plain TCP, or TLS that verifies the certificate and the name of the server."""

    redis_tls_ca: str | None = None
    """File with the certificate authority of Redis; by default, those of the system."""

    redis_url: SecretStr | None = None
    """
    A URL in place of `redis_address`, `…_mode`, `…_username`, `…_password`, `…_database`, `…_tls` and
    `…_sentinel_master`: `RedisOptions.from_url` lists the forms. To set one of those as well is an error.
    """

    redis_username: str | None = None
    """The user of Redis; by default, Redis's own `default`."""

    register_limit: int = Field(100_000, ge=1, le=500_000)
    """
    The most requests in one call of `register`. One call is one atomic step of Redis, which serves no other client
    meanwhile. The number of threads makes it slow, not the number of requests: measured for 100,000 requests, 26 ms in
    one thread, 1.4 s in as many threads, and 2.2 s if they are deduplicated as well. Register those in parts.
    """

    register_message_bytes: int = Field(1_048_576, ge=256, le=67_108_864)
    """
    The largest request that `register` takes, in bytes as stored, headers included. A worker holds a batch of them in
    memory at once. Keep larger data elsewhere, and register its address.
    """

    retry_base: float = Field(0.5, ge=0, le=3600)
    """Seconds that a thread waits after the first failure of a request; doubled for each further one."""

    retry_cap: float = Field(60.0, ge=0, le=86400)
    """The longest such wait, in seconds."""

    retry_limit: int = Field(10, ge=1, le=1_000_000)
    """Tries of one request before it goes to the dead letters and its thread goes on."""

    crash_limit: int = Field(5, ge=1, le=1_000_000)
    """Workers that may die with one request in their hands before it goes to the dead letters."""

    tube_prefix: Prefix = "tube_"
    """Key prefix of tubes."""

    worker_batch_bytes: int = Field(8_388_608, ge=1024, le=536_870_912)
    """
    Bytes of the requests handed out at once: in one batch, and in all first batches of a poll together. A larger
    request goes alone. The default, 8 MiB, takes 0.7 s over 100 Mbit/s; what takes longer than `redis_timeout` would be
    asked for again and again.
    """

    worker_batch_size: int = Field(128, ge=1, le=10_000)
    """Requests in one call of a handler. A larger number costs memory, and a longer replay after a crash."""

    worker_concurrency: int = Field(10, ge=1, le=10_000)
    """
    Threads that a worker handles at a time, each in a call of its handler: 10 suits handlers that wait for a network or
    a database. 1 where an `async` handler computes, as all calls share one event loop, and where several workers should
    share few threads; more where handlers wait for long. Each call may need a connection of its own from the pools that
    handlers use. A plain `def` takes an OS thread.
    """

    worker_drain: float = Field(25.0, ge=0, le=3600)
    """Seconds that a stopping worker gives its running batches before it gives up their threads."""

    worker_empty_limit: int = Field(16, ge=0, le=100_000)
    """How many times `worker_empty_pause` a worker keeps a drained thread, in case its next request comes."""

    worker_empty_pause: float = Field(0.1, ge=0, le=3600)
    """
    Seconds, of which a worker keeps a drained thread for `worker_empty_limit` times as long. Only their product counts:
    a new request wakes the worker, and nothing polls. While other threads wait, a drained thread is let go at once.
    """

    worker_handlers: Annotated[tuple[str, ...], NoDecode] = ()
    """Names of the handlers that a worker process serves; empty: all handlers that its modules define or import."""

    worker_turn: float = Field(30.0, gt=0, le=86400)
    """
    Seconds that a thread stays with a worker while other threads wait. Then it queues up behind them; without waiting
    threads it stays. Shorter turns are fairer, and cost more binds, starts and stops.
    """

    worker_name: str = Field(default_factory=socket.gethostname, pattern=WORKER_NAME)
    """
    The worker's name in its leases. Pods that the operator makes are called `NAMESPACE.POD`. Name the pods of your own
    Deployments and StatefulSets the same way, and the operator recognises them too.
    """

    @field_validator("redis_address", "worker_handlers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("log_format", "log_level", mode="before")
    @classmethod
    def _cased(cls, value: object, about: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        return value.upper() if about.field_name == "log_level" else value.lower()

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).model_fields:
            _refuse_unknown(name, name)
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            _refuse(error)

    @property
    def linger_seconds(self) -> float:
        return self.worker_empty_limit * self.worker_empty_pause


def read() -> Settings:
    """
    Settings from the environment. Variables that belong to no setting are ignored: other programs use `QUEUE_` too.

    Raises:
        SettingsError: a value is malformed or out of bounds.
    """
    try:
        if not INJECTED_PORT.match(os.environ.get(f"{ENV_PREFIX}METRICS_PORT", "")):
            return Settings()
        found = Settings(metrics_port=Settings.model_fields["metrics_port"].default)
        found.model_fields_set.discard("metrics_port")
        return found
    except ValidationError as error:
        _refuse(error)


def mistyped() -> Iterator[str]:
    """
    A sentence for each variable of the environment that looks like ours and sets nothing: its name is close to that of
    a setting, or starts like those of several settings. Variables that Kubernetes injects for Services are left out.
    """
    families = {name.partition("_")[0] for name in Settings.model_fields}
    for variable in sorted(os.environ):
        name = variable.removeprefix(ENV_PREFIX).lower()
        if not variable.startswith(ENV_PREFIX) or name in Settings.model_fields or _is_injected(variable):
            continue
        is_ours = get_close_matches(name, Settings.model_fields, n=1, cutoff=CLOSE)
        if is_ours or ("_" in name and name.partition("_")[0] in families):
            yield f"there is no setting {variable}, so it has no effect{_suggestion(name)}"


def _is_injected(variable: str) -> bool:
    return bool(INJECTED.search(variable) or INJECTED_PORT.match(os.environ[variable]))


def _refuse_unknown(spelled: str, name: str) -> NoReturn:
    raise SettingsError(f"there is no setting {spelled}{_suggestion(name)}")


def _suggestion(name: str) -> str:
    close = get_close_matches(name, Settings.model_fields, n=1, cutoff=0.5)
    return f"; did you mean {ENV_PREFIX}{close[0].upper()} (settings.{close[0]})?" if close else ""


def _refuse(error: ValidationError) -> NoReturn:
    first = error.errors()[0]
    name = str(first["loc"][0])
    shown = "(hidden)" if "password" in name or name == "redis_url" else repr(first["input"])
    raise SettingsError(f"{ENV_PREFIX}{name.upper()} (settings.{name}) = {shown}: {first['msg']}") from None


def _is_own_program() -> bool:
    """Whether this process runs one of our own programs, by its name or by `python -m`."""
    if sys.argv[:1] == ["-m"]:
        return sys.orig_argv[sys.orig_argv.index("-m") + 1] in MODULES
    return Path(*sys.argv[:1]).name in PROGRAMS


def _read_first() -> Settings:
    """A program that imports the library gets the error. Our own programs print a sentence and exit with code 2."""
    try:
        found = read()
    except SettingsError as error:
        if _is_own_program():
            sys.stderr.write(f"Error: {error}\n")
            sys.exit(2)
        raise
    if not _is_own_program():  # our programs report it in their own output
        for sentence in mistyped():
            logging.getLogger("sharded_queue").warning("%s", sentence)
    return found


settings = _read_first()
