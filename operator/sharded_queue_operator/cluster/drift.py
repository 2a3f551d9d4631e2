"""
Whether a Deployment still is what was applied. Pure.

The server adds defaults, and other writers add fields and items of their own: only the fields that we wrote are
compared.
"""

from hashlib import sha256
from typing import Any, NamedTuple

from msgspec import json

from sharded_queue_operator.resource.deployment import Manifest

ITEM_KEYS = ("name", "mountPath", "uid")
"""What identifies the items of a list, whatever other writers add between them."""


class Applied(NamedTuple):
    """Digests of what was applied and of what the server made of it: its own defaults and spellings are not drift."""

    ours: str
    theirs: str


def part_of(theirs: Any, ours: Any) -> Any:
    """Of *theirs*, only the fields that *ours* has."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {key: part_of(theirs.get(key), value) for key, value in ours.items()}
    if isinstance(ours, list) and isinstance(theirs, list):
        return _part_of_list(theirs, ours)
    return theirs


def _part_of_list(theirs: list[Any], ours: list[Any]) -> list[Any]:
    key = next((key for key in ITEM_KEYS if ours and _identifies(key, ours)), None)
    if key is None:
        return theirs
    items = {_key_of(item, key): item for item in theirs}
    return [part_of(items.get(item[key]), item) for item in ours]


def _identifies(key: str, items: list[Any]) -> bool:
    names = {_key_of(item, key) for item in items}
    return None not in names and len(names) == len(items)


def _key_of(item: Any, key: str) -> str | None:
    value = item.get(key) if isinstance(item, dict) else None
    return value if isinstance(value, str) else None


def digest(manifest: Manifest) -> str:
    """The replicas are left out: they are compared as numbers."""
    spec = {key: value for key, value in (manifest.get("spec") or {}).items() if key != "replicas"}
    return sha256(json.encode({**manifest, "spec": spec}, order="sorted")).hexdigest()
