"""The reference of the resource, from the CustomResourceDefinition."""

from collections.abc import Callable, Iterator
from typing import Any

BOUNDS: dict[str, Callable[[Any], str]] = {
    "enum": lambda words: " or ".join(f"`{word}`" for word in words),
    "minimum": "from {:,}".format,
    "maximum": "to {:,}".format,
    "maxLength": "at most {:,} characters".format,
    "minItems": "at least {:,}".format,
    "maxItems": "at most {:,}".format,
    "pattern": "matches `{}`".format,
}


def reference(definition: dict[str, Any]) -> str:
    """The fields of spec and status, and what `kubectl get` shows, for the version that is stored."""
    (version,) = (each for each in definition["spec"]["versions"] if each["storage"])
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    parts = [f"## `{part}`\n\n{entries(part, properties[part])}" for part in ("spec", "status")]
    return "\n".join([*parts, columns(version["additionalPrinterColumns"])])


def entries(path: str, schema: dict[str, Any]) -> str:
    return "\n".join(entries_of(path, schema))


def entries_of(path: str, schema: dict[str, Any]) -> Iterator[str]:
    """A heading for each field below *schema*, with its type and bounds, and its meaning; then those of its own."""
    for name, field in schema.get("properties", {}).items():
        own, items = f"{path}.{name}", field.get("items")
        facts = [kind(field), *(["required"] if name in schema.get("required", ()) else []), *bounds(field)]
        yield f"### `{own}`\n\n*{' · '.join(facts)}*\n\n{meaning(field)}\n"
        yield from entries_of(f"{own}[]" if items else own, items or field)


def kind(field: dict[str, Any]) -> str:
    if field["type"] == "array":
        return f"list of {kind(field['items'])}s"
    stored = field.get("format", field["type"])
    return "time" if stored == "date-time" else str(stored)


def bounds(field: dict[str, Any]) -> Iterator[str]:
    """Those of the field, and of its items if they are plain values."""
    for schema in (field, field.get("items", {})):
        yield from (spelled(schema[name]) for name, spelled in BOUNDS.items() if name in schema)


def meaning(field: dict[str, Any]) -> str:
    """The description, and the rules between fields that the API server enforces."""
    rules = [*field.get("x-kubernetes-validations", ()), *field.get("items", {}).get("x-kubernetes-validations", ())]
    return "\n".join([field.get("description", ""), "", *(f"- {rule['message']}" for rule in rules)])


def columns(columns: list[dict[str, Any]]) -> str:
    rows = "\n".join(
        f"| {column['name']} | `{column['jsonPath'].replace('|', chr(92) + '|')}` | "
        f"{'only with `-o wide`: ' if column.get('priority') else ''}{column.get('description', '')} |"
        for column in columns
    )
    return f"## Columns of `kubectl get`\n\n| column | from | meaning |\n|---|---|---|\n{rows}\n"
