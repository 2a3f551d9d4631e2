"""A user's partial pod template, merged over ours."""

from collections.abc import Sequence
from typing import Any

from sharded_queue_operator.errors import BadSpec

Manifest = dict[str, Any]

TEMPLATE = "worker.template"
CONTAINERS = f"{TEMPLATE}.spec.containers"
KEYS = {
    CONTAINERS: "name",
    f"{CONTAINERS}[].env": "name",
    f"{CONTAINERS}[].ports": "name",
    f"{CONTAINERS}[].volumeMounts": "mountPath",
    f"{TEMPLATE}.spec.volumes": "name",
}
"""What tells the items of our lists apart. Only in these places: `env` is the name of many a label too."""

PROBES = frozenset(f"{CONTAINERS}[].{name}" for name in ("livenessProbe", "readinessProbe", "startupProbe"))
WAYS = frozenset({"httpGet", "tcpSocket", "exec", "grpc"})
"""How a probe may look; it has one way, so that one of theirs leaves nothing of ours."""

NEEDED = frozenset(
    {
        f"{TEMPLATE}.metadata",
        f"{TEMPLATE}.metadata.labels",
        f"{TEMPLATE}.spec",
        f"{TEMPLATE}.spec.terminationGracePeriodSeconds",
        CONTAINERS,
        f"{CONTAINERS}[].image",
        f"{CONTAINERS}[].env",
    }
)
"""Without these there is no worker, or none that can be identified and configured."""

NAMELESS = frozenset({f"{CONTAINERS}[].ports"})
"""Items may do without their key there, and then stand beside ours."""


def merged(ours: Any, theirs: Any, path: str = TEMPLATE, place: str = TEMPLATE) -> Any:
    """
    *theirs* over *ours*: objects field by field, containers by their names, what has a name or a mount path item by
    item, everything else as a whole; so is a probe that looks in a way of its own. A null takes a field of ours away.
    *path* names the value to a person; *place* is the same without names of items.

    Raises:
        BadSpec: a value is of another kind than the one it would replace.
    """
    if isinstance(ours, dict):
        if not isinstance(theirs, dict):
            raise BadSpec(f"{path} must be an object")
        if place in PROBES and WAYS.intersection(theirs):
            return theirs
        if away := [key for key, value in theirs.items() if value is None and f"{place}.{key}" in NEEDED]:
            raise BadSpec(f"{path}.{away[0]} cannot be taken away: leave it out, or give a value of your own")
        common = {
            key: merged(ours[key], value, f"{path}.{key}", f"{place}.{key}")
            for key, value in theirs.items()
            if key in ours and value is not None
        }
        return {key: value for key, value in {**ours, **theirs, **common}.items() if value is not None}
    return listed(ours, theirs, path, place) if place in KEYS else theirs


def listed(ours: Sequence[Manifest], theirs: Any, path: str, place: str) -> list[Manifest]:
    key = KEYS[place]
    if not isinstance(theirs, list) or not all(
        isinstance(item, dict) and (item.get(key) or place in NAMELESS) for item in theirs
    ):
        raise BadSpec(f"{path} must be a list of objects, each with its {key}")
    items: dict[object, Manifest] = {item[key]: item for item in ours}
    names = [str(item[key]) if item.get(key) else number for number, item in enumerate(theirs)]
    if place == CONTAINERS and (twice := [name for name in names if names.count(name) > 1]):
        raise BadSpec(f"{path}: the name {twice[0]} stands twice")
    for name, item in zip(names, theirs, strict=True):
        is_merged = place == CONTAINERS and name in items
        items[name] = merged(items[name], item, f"{path}[{name}]", f"{place}[]") if is_merged else item
    return list(items.values())
