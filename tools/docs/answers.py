"""The reference of what commands answer with --json, from its schema."""

from collections.abc import Iterator
from typing import Any


def reference(schema: dict[str, Any]) -> str:
    """A section for each command, and one for each kind of record in their answers."""
    commands = "\n".join(f"| `{name}` | {kind(answer)} |" for name, answer in schema["commands"].items())
    records = "\n".join(record(name, each) for name, each in schema["$defs"].items())
    return f"| command | answer |\n|---|---|\n{commands}\n\n{records}"


def record(name: str, schema: dict[str, Any]) -> str:
    rows = "\n".join(rows_of(schema))
    return f"## {name}\n\n{schema['description']}\n\n| field | type |\n|---|---|\n{rows}\n"


def rows_of(schema: dict[str, Any]) -> Iterator[str]:
    for name, field in schema["properties"].items():
        is_left_out = name not in schema.get("required", ())
        yield f"| `{name}` | {kind(field)}{', may be absent' if is_left_out else ''} |"


def kind(schema: dict[str, Any]) -> str:
    if name := schema.get("$ref", "").rpartition("/")[2]:
        return f"[{name}](#{name.lower()})"
    if choices := schema.get("anyOf"):
        return " or ".join(map(kind, choices))
    if words := schema.get("enum"):
        return " or ".join(f"`{word}`" for word in words)
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}"
    return str(schema.get("type", "any value"))
