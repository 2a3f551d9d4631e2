"""
A user's partial pod template, merged over ours. Pure.

Objects merge field by field, containers by their names, other lists item by item where items have a name or a mount
path, and everything else is replaced as a whole. A null removes a field of ours.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sharded_queue_operator.errors import BadSpec

Json = dict[str, Any]

TEMPLATE = "worker.template"
CONTAINERS = f"{TEMPLATE}.spec.containers"
ITEM_KEYS = {
    CONTAINERS: "name",
    f"{CONTAINERS}[].env": "name",
    f"{CONTAINERS}[].ports": "name",
    f"{CONTAINERS}[].volumeMounts": "mountPath",
    f"{TEMPLATE}.spec.volumes": "name",
}
"""Which field tells the items of a list apart. Lists are known by their whole path, as a label may be called `env`."""

UNKEYED = frozenset({f"{CONTAINERS}[].ports"})
"""Lists whose items may lack that field. Such an item is added to ours."""

PROBES = frozenset(f"{CONTAINERS}[].{name}" for name in ("livenessProbe", "readinessProbe", "startupProbe"))
PROBE_ACTIONS = frozenset({"httpGet", "tcpSocket", "exec", "grpc"})
"""Kubernetes allows one action in a probe, so a probe with an action of the user's replaces ours as a whole."""

REQUIRED = frozenset(
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


class _Location(NamedTuple):
    """Where a value stands: *path* for people, and *schema_path* without the names of list items."""

    path: str
    schema_path: str

    def field(self, name: str) -> "_Location":
        return _Location(f"{self.path}.{name}", f"{self.schema_path}.{name}")

    def item(self, name: object) -> "_Location":
        return _Location(f"{self.path}[{name}]", f"{self.schema_path}[]")


ROOT = _Location(TEMPLATE, TEMPLATE)


def merged(ours: Any, theirs: Any, at: _Location = ROOT) -> Any:
    """
    *theirs* over *ours*.

    Raises:
        BadSpec: a value has another type than the one it would replace, or a required field is removed.
    """
    if isinstance(ours, dict):
        return _merged_object(ours, theirs, at)
    if at.schema_path in ITEM_KEYS:
        return _merged_list(ours, theirs, at)
    return theirs


def _merged_object(ours: Json, theirs: Any, at: _Location) -> Json:
    if not isinstance(theirs, dict):
        raise BadSpec(f"{at.path} must be an object")
    if at.schema_path in PROBES and PROBE_ACTIONS.intersection(theirs):
        return theirs
    _check_required(theirs, at)
    both = {
        name: merged(ours[name], value, at.field(name))
        for name, value in theirs.items()
        if name in ours and value is not None
    }
    return {name: value for name, value in {**ours, **theirs, **both}.items() if value is not None}


def _check_required(theirs: Mapping[str, Any], at: _Location) -> None:
    for name, value in theirs.items():
        if value is None and at.field(name).schema_path in REQUIRED:
            raise BadSpec(f"{at.field(name).path} cannot be removed: leave it out, or set a value")


def _merged_list(ours: list[Json], theirs: Any, at: _Location) -> list[Json]:
    items: dict[object, Json] = {item[ITEM_KEYS[at.schema_path]]: item for item in ours}
    for name, item in _named_items(theirs, at):
        is_merged = at.schema_path == CONTAINERS and name in items
        items[name] = merged(items[name], item, at.item(name)) if is_merged else item
    return list(items.values())


def _named_items(theirs: Any, at: _Location) -> list[tuple[object, Json]]:
    """The user's items, each with its name; one without has its number."""
    key = ITEM_KEYS[at.schema_path]
    if not isinstance(theirs, list) or not all(_is_item(item, key, at) for item in theirs):
        raise BadSpec(f"{at.path} must be a list of objects, each with its {key}")
    names: list[object] = [str(item[key]) if item.get(key) else number for number, item in enumerate(theirs)]
    if at.schema_path == CONTAINERS and (twice := [name for name in names if names.count(name) > 1]):
        raise BadSpec(f"{at.path}: the name {twice[0]} occurs twice")
    return list(zip(names, theirs, strict=True))


def _is_item(item: Any, key: str, at: _Location) -> bool:
    return isinstance(item, dict) and bool(item.get(key) or at.schema_path in UNKEYED)
