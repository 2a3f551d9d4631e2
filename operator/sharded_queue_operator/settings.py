"""The operator's own settings, from the environment: `OPERATOR_…`, as `QUEUE_…` belongs to the library."""

import socket
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sharded_queue.errors import SettingsError
from sharded_queue_operator.allowed import SERVICES

PREFIX = "OPERATOR_"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True)

    namespaces: Annotated[tuple[str, ...], NoDecode] = ()
    """Namespaces to serve, separated by commas. Empty means all, which takes rights on the whole cluster."""

    allowed_redis: Annotated[tuple[str, ...], NoDecode] = SERVICES
    """
    Redis servers that the operator may connect to, as patterns of `host:port` separated by commas; `*` stands for any
    text. The short name of a Service is matched as `NAME.NAMESPACE.svc`. Link-local addresses are never allowed.
    """

    identity: str = Field(default_factory=socket.gethostname)
    """The name of this process in its Lease and in events; in a pod, the pod's name."""

    lease_namespace: str = ""
    """The namespace of the Lease by which operators elect a leader. Empty means no election: run one operator only."""

    lease_name: str = "sharded-queue-operator"
    """The name of that Lease."""

    lease_seconds: float = Field(default=15.0, ge=3, le=600)
    """How long a leader leads without renewing its Lease. A shorter lease is taken over sooner and costs more writes,
    three per lease."""

    http_port: int = Field(default=9090, ge=0, le=65535)
    """Port of `/metrics`, `/livez` and `/readyz`; 0 picks a free one."""

    workers: int = Field(default=8, ge=1, le=100)
    """Resources that are reconciled at the same time. Each waits for the API server, so more help when many change at
    once."""

    api_seconds: float = Field(default=15.0, ge=1, le=120)
    """How long the API server may take for one answer."""

    resync_seconds: float = Field(default=300.0, ge=1, le=86_400)
    """How often everything is listed again, in case a watch went silent: three lists, and no write when all is well."""

    status_seconds: float = Field(default=30.0, ge=0, le=300)
    """How often depth and lag are written to a status; half as often when they changed little. Decisions and conditions
    are written at once. A thousand busy queues are 33 writes a second at the default."""

    rollout_percent: int = Field(default=5, ge=1, le=100)
    """How many queues may take another pod template at a time, in percent of all and at least one, where a new release
    of the operator makes it. A change by the author of a queue waits for nothing."""

    stuck_seconds: float = Field(default=900.0, ge=10, le=86_400)
    """`/livez` fails after this time without progress. Keep it above `OPERATOR_RESYNC_SECONDS`: an idle operator makes
    progress only by reading lists."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least severe messages that are logged: `DEBUG`, `INFO`, `WARNING` or `ERROR`."""

    log_format: Literal["text", "json"] = "text"
    """Each entry of the log is a line of text or a JSON object."""

    @field_validator("namespaces", "allowed_redis", mode="before")
    @classmethod
    def split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def read() -> Settings:
    """
    Raises:
        SettingsError: a variable is malformed or out of its bounds.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{PREFIX}{str(first['loc'][0]).upper()}"
        raise SettingsError(f"{name} = {first['input']!r}: {first['msg']}") from None
