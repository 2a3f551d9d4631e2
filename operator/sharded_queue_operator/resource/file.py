"""A ShardedQueue from a file, for `sharded-queue run`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sharded_queue_operator.errors import BadSpec
from sharded_queue_operator.resource.deployment import pod_template
from sharded_queue_operator.resource.spec import GROUP, KIND, Resource, parsed

PRODUCER = f"{GROUP}/producer"
"""Annotation: the command that `sharded-queue run` starts to register requests. Clusters ignore it."""

FIELD_PATH = re.compile(r"`\$\.?([^`]*)`")


def read(file: Path) -> tuple[Resource, str | None]:
    """
    The resource of a file, and the command of its producer.

    Raises:
        BadSpec: the file is missing, is not YAML, or does not contain exactly one valid ShardedQueue.
    """
    body = _queue_of(file, _documents(file))
    try:
        resource = parsed(body)
        if resource.spec.worker is None:
            raise BadSpec(
                "spec.worker is missing: scaleTargetRef names a workload in a cluster, and `run` has no cluster"
            )
        pod_template(resource)
        producer = (body["metadata"].get("annotations") or {}).get(PRODUCER)
        if not isinstance(producer, str | None):
            raise BadSpec(f"the annotation {PRODUCER} must be a text, the command to start; it is {producer!r:.100}")
    except BadSpec as error:
        raise BadSpec(f"{file}: {error}{_value_of(str(error), body)}") from None
    return resource, producer


def _documents(file: Path) -> list[Any]:
    try:
        return [body for body in yaml.safe_load_all(file.read_text("utf-8")) if body is not None]
    except (OSError, UnicodeDecodeError) as error:
        raise BadSpec(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except RecursionError:
        raise BadSpec(f"{file} is not YAML: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # the latter of a date or a number that there is not
        raise BadSpec(f"{file} is not YAML: {' '.join(str(error).split())}") from None


def _queue_of(file: Path, bodies: list[Any]) -> Mapping[str, Any]:
    """The one ShardedQueue among a file's documents."""
    objects = [body for body in bodies if isinstance(body, Mapping)]
    queues = [body for body in objects if body.get("kind") == KIND]
    if len(queues) == 1:
        return queues[0]
    if queues:
        raise BadSpec(f"{file} contains {len(queues)} objects of kind {KIND}; run takes one")
    kinds = ", ".join(str(body.get("kind")) for body in objects if body.get("kind"))
    raise BadSpec(f"{file} contains no {KIND}{f', only {kinds}' if kinds else ''}")


def _value_of(complaint: str, body: Mapping[str, Any]) -> str:
    """The value of the field that a complaint names."""
    found = FIELD_PATH.search(complaint)
    if not found:
        return ""
    value: Any = body.get("spec")
    for part in re.findall(r"[^.\[\]]+", found[1]):
        try:
            value = value[int(part) if isinstance(value, list) else part]
        except (LookupError, TypeError, ValueError):
            return ""
    return f"; it is {value!r:.100}"
