"""
The worker Deployment of a resource: a hardened default with the user's partial pod template merged over it. Pure.

Manifests are sent as server-side apply, so a field that is not in them belongs to somebody else.
"""

from collections.abc import Mapping
from typing import Any

from sharded_queue_operator.errors import BadSpec
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import API_VERSION, GROUP, KIND, Redis, Resource, Worker
from sharded_queue_operator.resource.template import merged

Manifest = dict[str, Any]

MANAGER = "sharded-queue-operator"
MANAGED_BY = "app.kubernetes.io/managed-by"
QUEUE = f"{GROUP}/queue"
"""Label: the ShardedQueue that a worker belongs to."""

USER = 65532
METRICS_PORT = 9090
GRACE_SECONDS = 10
"""For a pod to release its threads and exit after its drain."""

POD_NAME = "POD_NAME"
"""The environment variable that a worker's own name is made from."""

AUTH_FOLDER = "/etc/sharded-queue/redis-auth"
CA_FOLDER = "/etc/sharded-queue/redis-ca"
CA_KEY = "ca.crt"


def deployment_name(resource: Name) -> Name:
    return Name(resource.namespace, f"{resource.name}-worker")


def deployment(resource: Resource, replicas: int) -> Manifest:
    """
    The Deployment of a resource that has a `worker`.

    Raises:
        BadSpec: the template contradicts the rest of the spec.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "namespace": resource.name.namespace,
            "name": deployment_name(resource.name).name,
            "labels": {**selector(resource.name), MANAGED_BY: MANAGER},
            "ownerReferences": [_owner(resource)],
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": selector(resource.name)},
            "template": pod_template(resource),
        },
    }


def worker_name(pod: Name) -> str:
    """
    The name that a worker has in its leases. It contains the namespace: a user who may create pods chooses their names,
    and must not pass for a worker of another namespace that shares the Redis.
    """
    return f"{pod.namespace}.{pod.name}"


def selector(resource: Name) -> dict[str, str]:
    return {"app.kubernetes.io/name": "sharded-queue-worker", QUEUE: resource.name}


def selector_text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _owner(resource: Resource) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": resource.name.name,
        "uid": resource.uid,
        "controller": True,
    }


def pod_template(resource: Resource) -> Manifest:
    assert resource.spec.worker is not None
    template: Manifest = merged(_default_template(resource, resource.spec.worker), resource.spec.worker.template)
    template["metadata"]["labels"] |= selector(resource.name)
    grace, drain = template["spec"]["terminationGracePeriodSeconds"], resource.spec.drain.timeout_seconds
    if not isinstance(grace, int) or grace <= drain:
        raise BadSpec(
            f"worker.template: terminationGracePeriodSeconds is {grace}, but must be greater than"
            f" drain.timeoutSeconds, {drain}"
        )
    return template


def _default_template(resource: Resource, worker: Worker) -> Manifest:
    redis = resource.spec.redis
    return {
        "metadata": {"labels": {}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": resource.spec.drain.timeout_seconds + GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(resource, worker)],
            "volumes": [{"name": "tmp", "emptyDir": {}}, *_secret_volumes(redis)],
        },
    }


def _container(resource: Resource, worker: Worker) -> Manifest:
    return {
        "name": "worker",
        "image": worker.image,
        "args": list(worker.modules),
        "env": _environment(resource),
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        # A worker starts as slowly as its modules import.
        "startupProbe": _probe("/livez", period=2, failures=150),
        "livenessProbe": _probe("/livez", period=10, failures=6),
        "readinessProbe": _probe("/readyz", period=2, failures=3),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *_secret_mounts(resource.spec.redis)],  # noqa: S108
    }


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "metrics"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _environment(resource: Resource) -> list[Manifest]:
    """The settings of the library; a user's template may replace each by its name."""
    spec = resource.spec
    values = {
        **_redis_values(spec.redis),
        "QUEUE_WORKER_CONCURRENCY": str(spec.scaling.threads_per_replica),
        "QUEUE_WORKER_DRAIN": str(spec.drain.timeout_seconds),
        "QUEUE_WORKER_HANDLERS": ",".join(handler.name for handler in spec.handlers),
        "QUEUE_METRICS_PORT": str(METRICS_PORT),
    }
    pod = {"name": POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    values["QUEUE_WORKER_NAME"] = worker_name(Name(resource.name.namespace, f"$({POD_NAME})"))
    return [pod, *({"name": name, "value": value} for name, value in values.items())]


def _redis_values(redis: Redis) -> dict[str, str]:
    values = {
        "QUEUE_REDIS_ADDRESS": ",".join(redis.addresses),
        "QUEUE_REDIS_MODE": redis.mode,
        "QUEUE_REDIS_TLS": redis.tls.mode,
        "QUEUE_TUBE_PREFIX": redis.keys.tubes,
        "QUEUE_COORDINATOR_PREFIX": redis.keys.binds,
    }
    if redis.auth_secret_name:  # files, not variables: a changed password reaches running workers
        values["QUEUE_REDIS_AUTH_FOLDER"] = AUTH_FOLDER
    if redis.sentinel_master_name:
        values["QUEUE_REDIS_SENTINEL_MASTER"] = redis.sentinel_master_name
    if redis.tls.ca_secret_name:
        values["QUEUE_REDIS_TLS_CA"] = f"{CA_FOLDER}/{CA_KEY}"
    return values


def _secret_volumes(redis: Redis) -> list[Manifest]:
    """Both Secrets as files, which the kubelet updates."""
    volumes = []
    if redis.auth_secret_name:  # optional, as each of its keys is
        volumes.append({"name": "redis-auth", "secret": {"secretName": redis.auth_secret_name, "optional": True}})
    if redis.tls.ca_secret_name:
        volumes.append({"name": "redis-ca", "secret": {"secretName": redis.tls.ca_secret_name}})
    return volumes


def _secret_mounts(redis: Redis) -> list[Manifest]:
    folders = {"redis-auth": AUTH_FOLDER, "redis-ca": CA_FOLDER}
    names = [volume["name"] for volume in _secret_volumes(redis)]
    return [{"name": name, "mountPath": folders[name], "readOnly": True} for name in names]
