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
from collections.abc import Iterator, Set
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, Union, get_args, get_origin, get_type_hints

from msgspec import Meta, ValidationError, convert

from sharded_queue.errors import SettingsError

ENV_PREFIX = "QUEUE_"
PROGRAMS = ("sharded-queue", "sharded-queue-operator")
MODULES = ("sharded_queue", "sharded_queue_operator")

MOST_BATCH_SIZE, LONGEST_TURN_SECONDS = 10_000, 86_400
"""Bounds that a handler's own batch size and turn have as well."""
Prefix = Annotated[str, Meta(max_length=128, pattern=r"^[^{}\s]*\Z")]
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


WORKER_NAME = r"^[^\s/]{1,200}\Z"
"""A lease holds the name between spaces and before a slash."""


class Secret:
    """A text that is not shown by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        return self._text

    def __len__(self) -> int:
        return len(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret('**********')"


class Settings:
    """
    A value that was not set is that of the class. msgspec checks one that is set, by the annotation of the field; a
    settings reader with models of its own would take half of the time in which a worker starts.
    """

    coordinator_delay: Annotated[float, Meta(gt=0, le=3600)] = 1.0
    """
    Seconds between polls when all queues are empty. A safety net, since wake-ups do not wait for it. While nothing
    happens, it doubles up to four times this value, so an idle worker sends less than one command a second.
    """

    coordinator_lease: Annotated[float, Meta(ge=0.2, le=3600)] = 15.0
    """
    Seconds that a thread stays bound without renewal, and so how long a crashed worker blocks its threads. A shorter
    lease costs more renewals (three per lease, each one command for all threads of a worker) and tolerates only shorter
    pauses of Redis.
    """

    coordinator_prefix: Prefix = "lock_"
    """Key prefix of binds."""

    coordinator_timeout: Annotated[float, Meta(gt=0, le=31_536_000)] = 86400.0
    """Seconds after which a batch that is still in its handler counts as hung: its lease is no longer renewed."""

    default_priority: Annotated[int, Meta(gt=-(2**31), lt=2**31)] = 0
    """Priority of a request whose handler defines no `route`."""

    default_thread: int | str = 0
    """Thread of a request whose handler defines no `route`."""

    log_format: Literal["text", "json"] = "text"
    """How `sharded-queue worker` writes each log entry: as a line of text, or as a JSON object."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The lowest level that `sharded-queue worker` logs."""

    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 9090
    """
    Port of `/metrics`, `/livez` and `/readyz` of a worker process; 0 picks a free one. Without this setting, a worker
    picks a free port if the default one is taken, and logs which.
    """

    metrics_tubes: Annotated[int, Meta(ge=0, le=1000)] = 10
    """Tubes of a handler that `/metrics` lists one by one, the oldest requests first. The rest are summed."""

    redis_address: tuple[str, ...] = ("localhost:6379",)
    """`host:port` of Redis. Separate several with commas, for Sentinel and Cluster."""

    redis_auth_folder: str | None = None
    """
    A folder with the files `username`, `password` and `sentinelPassword`, each optional, such as a mounted Secret. The
    files are read again for each new connection, so a changed password takes effect. `redis_username` and
    `redis_password` take precedence.
    """

    redis_database: Annotated[int, Meta(ge=0, lt=10**9)] = 0
    """The number of the database, not on a Cluster, which has only 0. The operator reads database 0."""

    redis_eviction: Literal["Refused", "Accepted"] = "Refused"
    """Whether to use a Redis that may evict keys (a maxmemory-policy other than noeviction), and so lose requests."""

    redis_mode: Literal["Standalone", "Sentinel", "Cluster"] = "Standalone"
    """What runs at `redis_address`."""

    redis_password: Secret | None = None
    """The password of Redis."""

    redis_retry: Annotated[float, Meta(ge=0, le=300)] = 30.0
    """
    Seconds for which a registration is sent again while Redis does not answer; a worker tries for ever. Redis
    recognises a repeated registration for ten minutes, hence the bound.
    """

    redis_sentinel_master: str | None = None
    """The name of the master, in Sentinel mode."""

    redis_sentinel_password: Secret | None = None
    """The password of the Sentinels, where they have one of their own."""

    redis_timeout: Annotated[float, Meta(ge=0.05, le=300)] = 5.0
    """Seconds to wait for one answer of Redis before the command is sent again."""

    redis_tls: Literal["Disabled", "Verify"] = "Disabled"
    """Plain TCP, or TLS that verifies the certificate and the name of the server."""

    redis_tls_ca: str | None = None
    """File with the certificate authority of Redis; by default, those of the system."""

    redis_url: Secret | None = None
    """
    A URL in place of `redis_address`, `…_mode`, `…_username`, `…_password`, `…_database`, `…_tls` and
    `…_sentinel_master`: `RedisOptions.from_url` lists the forms. To set one of those as well is an error.
    """

    redis_username: str | None = None
    """The user of Redis; by default, Redis's own `default`."""

    register_limit: Annotated[int, Meta(ge=1, le=1000)] = 1000
    """
    The most requests in one call of `register`. One call is one atomic step of Redis, which serves no other client
    meanwhile: with 1,000 requests 1 ms in one thread, 12 ms in as many threads, and 18 ms if they are deduplicated as
    well. Register more in parts.
    """

    register_message_bytes: Annotated[int, Meta(ge=256, le=4_194_304)] = 1_048_576
    """
    The largest request that `register` takes, in bytes as stored, headers included. A worker holds a batch of them in
    memory at once. Keep larger data elsewhere, and register its address.
    """

    retry_base: Annotated[float, Meta(ge=0, le=3600)] = 0.5
    """Seconds that a thread waits after the first failure of a request; doubled for each further one."""

    retry_cap: Annotated[float, Meta(ge=0, le=86400)] = 60.0
    """The longest such wait, in seconds."""

    retry_exhausted: Literal["dead_letter", "pause"] = "dead_letter"
    """
    What becomes of a request without tries: a dead letter, and its thread goes on; or its thread stops with the request
    in its place, until a person resumes it.
    """

    retry_limit: Annotated[int, Meta(ge=1, le=1_000_000)] = 10
    """Tries of one request before it is exhausted."""

    crash_limit: Annotated[int, Meta(ge=1, le=1_000_000)] = 5
    """
    Workers that may die with one request in their hands before it is exhausted. The last one must have died while it
    handled nothing else, so with 1 the second death counts.
    """

    tube_prefix: Prefix = "tube_"
    """Key prefix of tubes."""

    worker_batch_bytes: Annotated[int, Meta(ge=1024, le=536_870_912)] = 8_388_608
    """
    Bytes of the requests handed out at once: in one batch, and in all first batches of a poll together. A larger
    request goes alone. The default, 8 MiB, takes 0.7 s over 100 Mbit/s; what takes longer than `redis_timeout` would be
    asked for again and again.
    """

    worker_batch_size: Annotated[int, Meta(ge=1, le=MOST_BATCH_SIZE)] = 128
    """Requests in one call of a handler. A larger number costs memory, and a longer replay after a crash."""

    worker_concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 10
    """
    Threads that a worker handles at a time, each in a call of its handler: 10 suits handlers that wait for a network or
    a database. 1 where an `async` handler computes, as all calls share one event loop, and where several workers should
    share few threads; more where handlers wait for long. Each call may need a connection of its own from the pools that
    handlers use. A plain `def` takes an OS thread.
    """

    worker_drain: Annotated[float, Meta(ge=0, le=3600)] = 25.0
    """Seconds that a stopping worker gives its running batches before it gives up their threads."""

    worker_empty_limit: Annotated[int, Meta(ge=0, le=100_000)] = 16
    """How many times `worker_empty_pause` a worker keeps a drained thread, in case its next request comes."""

    worker_empty_pause: Annotated[float, Meta(ge=0, le=3600)] = 0.1
    """
    Seconds, of which a worker keeps a drained thread for `worker_empty_limit` times as long. Only their product counts:
    a new request wakes the worker, and nothing polls. While other threads wait, a drained thread is let go at once.
    """

    worker_handlers: tuple[str, ...] = ()
    """Names of the handlers that a worker process serves; empty: all handlers that its modules define or import."""

    worker_turn: Annotated[float, Meta(gt=0, le=LONGEST_TURN_SECONDS)] = 30.0
    """
    Seconds that a thread stays with a worker while other threads wait, of any handler of the worker. Then it queues up
    behind them, when its batch has ended; without waiting threads it stays. Shorter turns are fairer, and cost more
    binds, starts and stops.
    """

    worker_name: Annotated[str, Meta(pattern=WORKER_NAME)] = socket.gethostname()
    """
    The worker's name in its leases. Pods that the operator makes are called `NAMESPACE.POD`. Name the pods of your own
    Deployments and StatefulSets the same way, and the operator recognises them too.
    """

    def __setattr__(self, name: str, value: object) -> None:
        """
        Raises:
            SettingsError: there is no such setting, or the value is malformed or out of bounds.
        """
        if name not in FIELDS:
            _refuse_unknown(name, name)
        super().__setattr__(name, FIELDS[name].read(value))

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    @property
    def given(self) -> Set[str]:
        """The names of those that were set."""
        return vars(self).keys()

    @property
    def linger_seconds(self) -> float:
        return self.worker_empty_limit * self.worker_empty_pause


class Field(NamedTuple):
    """What a setting may be, as its annotation in `Settings` says."""

    name: str
    annotation: Any
    default: Any

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types that the value may have."""
        plain = get_args(self.annotation)[0] if get_origin(self.annotation) is Annotated else self.annotation
        return get_args(plain) if get_origin(plain) in UNIONS else (plain,)

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.kinds[0]) if get_origin(self.kinds[0]) is Literal else ()

    @property
    def bounds(self) -> dict[str, Any]:
        """The limits of its annotation, by the names that `msgspec.Meta` has for them."""
        _, *limits = get_args(self.annotation) if get_origin(self.annotation) is Annotated else [None]
        return {name: limit for each in limits for name in WORDS if (limit := getattr(each, name, None)) is not None}

    def read(self, value: object) -> Any:
        """
        A value as it is kept. A text is read as what the setting is: a number, several texts, or a choice in any case.

        Raises:
            SettingsError: it is malformed or out of bounds.
        """
        with suppress(ValidationError):
            return convert(self._meant(value), self.annotation, strict=len(self.kinds) > 1)
        shown = "(hidden)" if Secret in self.kinds else repr(value)
        variable = f"{ENV_PREFIX}{self.name.upper()}"
        raise SettingsError(f"{variable} (settings.{self.name}) = {shown}: should be {self.expected}")

    def _meant(self, value: object) -> object:
        if not isinstance(value, str):
            return value
        if Secret in self.kinds:
            return Secret(value)
        if self.kinds in NUMBERS:
            with suppress(ValueError):
                return self.kinds[0](value)
        if get_origin(self.kinds[0]) is tuple:
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return next((choice for choice in self.choices if choice.casefold() == value.casefold()), value)

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        if choices := [repr(choice) for choice in self.choices]:
            return " or ".join([", ".join(choices[:-1]), choices[-1]])
        kind = "several texts" if get_origin(self.kinds[0]) is tuple else NOUNS[self.kinds[0]]
        bounds = " and ".join(f"{WORDS[name]} {limit}" for name, limit in self.bounds.items())
        return f"{kind}, {bounds}" if bounds else kind


WORDS = {
    "gt": "greater than",
    "ge": "greater than or equal to",
    "lt": "less than",
    "le": "less than or equal to",
    "max_length": "of a length up to",
    "pattern": "of the pattern",
}
NOUNS = {float: "a valid number", int: "a valid whole number", str: "a text", Secret: "a text"}
NUMBERS = ((int,), (float,))
UNIONS = (Union, UnionType)

FIELDS = {
    name: Field(name, annotation, getattr(Settings, name))
    for name, annotation in get_type_hints(Settings, include_extras=True).items()
}


def read() -> Settings:
    """
    Settings from the environment. Variables that belong to no setting are ignored: other programs use `QUEUE_` too.

    Raises:
        SettingsError: a value is malformed or out of bounds.
    """
    found, variables = Settings(), {name.upper(): value for name, value in os.environ.items()}
    for name in FIELDS:
        value = variables.get(f"{ENV_PREFIX}{name.upper()}")
        if value is not None and not (name == "metrics_port" and INJECTED_PORT.match(value)):
            setattr(found, name, value)
    return found


def mistyped() -> Iterator[str]:
    """
    A sentence for each variable of the environment that looks like ours and sets nothing: its name is close to that of
    a setting, or starts like those of several settings. Variables that Kubernetes injects for Services are left out.
    """
    families = {name.partition("_")[0] for name in FIELDS}
    for variable in sorted(os.environ):
        name = variable.removeprefix(ENV_PREFIX).lower()
        if not variable.startswith(ENV_PREFIX) or name in FIELDS or _is_injected(variable):
            continue
        is_ours = get_close_matches(name, FIELDS, n=1, cutoff=CLOSE)
        if is_ours or ("_" in name and name.partition("_")[0] in families):
            yield f"there is no setting {variable}, so it has no effect{_suggestion(name)}"


def _is_injected(variable: str) -> bool:
    return bool(INJECTED.search(variable) or INJECTED_PORT.match(os.environ[variable]))


def _refuse_unknown(spelled: str, name: str) -> NoReturn:
    raise SettingsError(f"there is no setting {spelled}{_suggestion(name)}")


def _suggestion(name: str) -> str:
    close = get_close_matches(name, FIELDS, n=1, cutoff=0.5)
    return f"; did you mean {ENV_PREFIX}{close[0].upper()} (settings.{close[0]})?" if close else ""


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
