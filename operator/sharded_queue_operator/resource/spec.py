"""
A ShardedQueue as typed values, validated again in code. Pure.

The API server refuses most mistakes. But a CRD may be older than the operator, and `sharded-queue run` reads files that
no server has validated. Every mistake is a `BadSpec` with a sentence for the author of the resource.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct, ValidationError, convert, field, json

from sharded_queue.tube import Keys, Shard, shards_of
from sharded_queue_operator.errors import BadSpec
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.scaling.policy import Policy

GROUP = "shardedqueue.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ShardedQueue"
PLURAL = "shardedqueues"

PAUSE = f"{GROUP}/pause"
"""Annotation: `up`, `down` or `both` stop the operator from changing replicas in that direction."""

ACCEPT = f"{GROUP}/accept-data-loss"
"""Annotation: each new value accepts the data that Redis holds now, whatever it held before."""

PAUSES = ("up", "down", "both")

ROLLOUT = f"{GROUP}/rollout"
"""
Annotation about the pod template that another release of the operator makes of the same spec: `hold` keeps the present
one, `go` takes the other one at once, and a failure then stops no other queue.
"""

ROLLOUTS = ("hold", "go")

NAME_CHARACTERS = 52

POLLS_UNTIL_STALE = 3
STALE_SECONDS = 10.0
"""A reading is stale after `POLLS_UNTIL_STALE` poll periods, and never sooner than this."""

Replicas = Annotated[int, Meta(ge=0, le=10_000)]
Positive = Annotated[int, Meta(ge=1, le=10_000)]
Seconds = Annotated[int, Meta(ge=1, le=86_400)]
ObjectName = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?\Z")]
Address = Annotated[
    str,
    Meta(max_length=260, pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}\Z"),
]
HandlerName = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_.<>-]*\Z")]
Module = Annotated[str, Meta(max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")]


class _Part(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A part of a spec. An unknown field is a typo, and refused rather than ignored."""


class Tls(_Part, frozen=True):
    mode: Literal["Disabled", "Verify"] = "Disabled"
    ca_secret_name: ObjectName | None = None


class Redis(_Part, frozen=True):
    addresses: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=16)]
    mode: Literal["Standalone", "Sentinel", "Cluster"] = "Standalone"
    sentinel_master_name: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    auth_secret_name: ObjectName | None = None
    tls: Tls = Tls()
    key_prefix: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9_.:-]*\Z")] = ""

    @property
    def home(self) -> tuple[object, ...]:
        """Identifies the data: a Redis with another home holds other data. User, password and TLS do not count."""
        return self.mode, frozenset(self.addresses), self.sentinel_master_name, self.key_prefix

    @property
    def keys(self) -> Keys:
        return Keys(tubes=f"{self.key_prefix}tube_", binds=f"{self.key_prefix}lock_")


class Handler(_Part, frozen=True):
    name: HandlerName
    microseconds_per_request: Annotated[int, Meta(ge=1, le=86_400_000_000)] | None = None
    seconds_per_request: Annotated[float, Meta(ge=0.000001, le=86_400)] | None = None
    """As earlier releases spelt it."""
    shards: Annotated[int, Meta(ge=1, le=64)] = 1

    @property
    def seconds(self) -> float | None:
        """Time to handle one request, if the user gave it."""
        if self.microseconds_per_request is None:
            return self.seconds_per_request
        return self.microseconds_per_request / 1e6


class Worker(_Part, frozen=True):
    image: Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[^\s]+\Z")]
    modules: Annotated[list[Module], Meta(min_length=1, max_length=32)]
    template: dict[str, Any] = field(default_factory=dict)


class ScaleTargetRef(_Part, frozen=True):
    name: ObjectName
    api_version: Literal["apps/v1"] = "apps/v1"
    kind: Literal["Deployment", "StatefulSet"] = "Deployment"
    on_delete: Literal["Keep", "Restore"] = "Restore"


class Fallback(_Part, frozen=True):
    policy: Literal["KeepCurrent", "AtLeast"] = "KeepCurrent"
    replicas: Positive | None = None


class Scaling(_Part, frozen=True):
    mode: Literal["Automatic", "Recommend"] = "Automatic"
    min_replicas: Replicas = 0
    max_replicas: Positive = 10
    threads_per_replica: Annotated[int, Meta(ge=1, le=1_000)] = 10
    target_drain_seconds: Seconds | None = None
    poll_period_seconds: Annotated[int, Meta(ge=1, le=300)] = 1
    scale_down_stabilization_seconds: Annotated[int, Meta(ge=0, le=86_400)] | None = None
    fallback: Fallback = Fallback()


class Drain(_Part, frozen=True):
    timeout_seconds: Annotated[int, Meta(ge=1, le=3_600)] = 30


class Spec(_Part, frozen=True):
    redis: Redis
    handlers: Annotated[list[Handler], Meta(min_length=1, max_length=32)]
    worker: Worker | None = None
    scale_target_ref: ScaleTargetRef | None = None
    scaling: Scaling = Scaling()
    drain: Drain = Drain()
    suspend: bool = False
    replicas: Replicas | None = None
    pin_seconds: Annotated[int, Meta(ge=1, le=2_592_000)] | None = None

    @property
    def shards(self) -> list[Shard]:
        return [shard for handler in self.handlers for shard in shards_of(handler.name, handler.shards)]


class Resource(NamedTuple):
    """A ShardedQueue with a valid spec."""

    name: Name
    uid: str
    generation: int
    spec: Spec
    policy: Policy
    created: str = ""
    asked: str = ""
    """A digest of what its author asks for in pods: it changes with nothing else."""
    rollout: str | None = None
    """The annotation `ROLLOUT`."""

    @property
    def restores_target(self) -> bool:
        """Whether the workload of the user's that it scales gets its number of replicas back in the end."""
        ref = self.spec.scale_target_ref
        return ref is not None and ref.on_delete == "Restore"


def parsed(body: Mapping[str, Any]) -> Resource:
    """
    The resource that a manifest describes.

    Raises:
        BadSpec: it is not a ShardedQueue, or its spec is invalid.
    """
    if (body.get("apiVersion"), body.get("kind")) != (API_VERSION, KIND):
        raise BadSpec(f"this is {body.get('apiVersion')} {body.get('kind')}, not {API_VERSION} {KIND}")
    metadata = body.get("metadata")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str):
        raise BadSpec("metadata.name is missing")
    if len(metadata["name"]) > NAME_CHARACTERS:
        raise BadSpec(f"the name {metadata['name']} has more than {NAME_CHARACTERS} characters")
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, Mapping):
        raise BadSpec("metadata.annotations must be texts by their names")
    spec = _spec_of(body.get("spec"))
    policy = _policy_of(spec, annotations.get(PAUSE))
    uid, generation, created = (metadata.get(key) for key in ("uid", "generation", "creationTimestamp"))
    asked, rollout = _digest(_pods_of(body["spec"])), _rollout_of(annotations.get(ROLLOUT))
    return Resource(Name.of(body), uid or "", generation or 0, spec, policy, created or "", asked, rollout)


def _pods_of(raw: Mapping[str, Any]) -> list[object]:
    """What pods follow from, as its author wrote it: a later release may read more into the same words."""
    scaling, handlers = raw.get("scaling") or {}, [handler["name"] for handler in raw["handlers"]]
    return [handlers, scaling.get("threadsPerReplica"), *(raw.get(key) for key in ("redis", "worker", "drain"))]


def _digest(asked: object) -> str:
    return sha256(json.encode(asked, order="sorted")).hexdigest()[:16]


def _rollout_of(word: str | None) -> str | None:
    if word is not None and word not in ROLLOUTS:
        raise BadSpec(f"the annotation {ROLLOUT} is hold or go, not {word!r}")
    return word


def _spec_of(raw: object) -> Spec:
    try:
        spec = convert(raw, Spec)
    except ValidationError as error:
        raise BadSpec(f"spec: {error}") from None
    for violation in _violations(spec):
        raise BadSpec(violation)
    return spec


def _violations(spec: Spec) -> list[str]:
    """A sentence for each rule between fields that is violated."""
    redis, scaling, names = spec.redis, spec.scaling, [handler.name for handler in spec.handlers]
    rules = {
        "exactly one of worker and scaleTargetRef must be set": (spec.worker is None)
        != (spec.scale_target_ref is None),
        "redis.addresses: mode Standalone takes one address": redis.mode != "Standalone" or len(redis.addresses) == 1,
        "redis.addresses: a port is at most 65535": all(int(a.rpartition(":")[2]) < 2**16 for a in redis.addresses),
        "redis.sentinelMasterName is required with mode Sentinel, and not allowed without it": (
            (redis.mode == "Sentinel") == (redis.sentinel_master_name is not None)
        ),
        "redis.tls.caSecretName needs mode Verify": redis.tls.ca_secret_name is None or redis.tls.mode == "Verify",
        "handlers: a name occurs twice": len(set(names)) == len(names),
        "scaling.minReplicas must not be greater than maxReplicas": scaling.min_replicas <= scaling.max_replicas,
        "scaling.fallback.replicas is required with policy AtLeast, and not allowed without it": (
            (scaling.fallback.policy == "AtLeast") == (scaling.fallback.replicas is not None)
        ),
        "scaling.fallback.replicas must not be greater than maxReplicas": (
            (scaling.fallback.replicas or 0) <= scaling.max_replicas
        ),
    }
    return [rule for rule, holds in rules.items() if not holds]


def _policy_of(spec: Spec, pause: str | None = None) -> Policy:
    if pause is not None and pause not in PAUSES:
        raise BadSpec(f"the annotation {PAUSE} is up, down or both, not {pause!r}")
    scaling = spec.scaling
    return Policy(
        min_replicas=scaling.min_replicas,
        max_replicas=scaling.max_replicas,
        threads_per_replica=scaling.threads_per_replica,
        drain_seconds=scaling.target_drain_seconds,
        window_seconds=scaling.scale_down_stabilization_seconds,
        seconds_per_request={handler.name: handler.seconds for handler in spec.handlers if handler.seconds is not None},
        fallback_replicas=scaling.fallback.replicas or 0,
        stale_seconds=max(STALE_SECONDS, POLLS_UNTIL_STALE * scaling.poll_period_seconds),
        pinned=spec.replicas,
        is_suspended=spec.suspend,
        is_recommending=scaling.mode == "Recommend",
        may_rise=pause not in {"up", "both"},
        may_fall=pause not in {"down", "both"},
    )
