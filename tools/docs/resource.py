"""The reference of the resource, from the CustomResourceDefinition."""

from collections.abc import Iterator
from typing import Any

BOUNDS = {
    "enum": lambda words: " or ".join(f"`{word}`" for word in words),
    "minimum": "from {:,}".format,
    "maximum": "to {:,}".format,
    "minLength": lambda length: "",
    "maxLength": "at most {:,} characters".format,
    "minItems": "at least {:,}".format,
    "maxItems": "at most {:,}".format,
    "pattern": lambda pattern: f"matching `{cell(pattern)}`",
}


def reference(definition: dict[str, Any]) -> str:
    """Tables of the spec, of the status, and of what `kubectl get` shows, for the version that is stored."""
    (version,) = (each for each in definition["spec"]["versions"] if each["storage"])
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    parts = [table(part, properties[part]) for part in ("spec", "status")]
    return "\n".join([*parts, columns(version["additionalPrinterColumns"])])


def table(name: str, schema: dict[str, Any]) -> str:
    lead = schema.get("description", "What you want.")
    rows = "\n".join(rows_of(name, schema))
    return f"## `{name}`\n\n{lead}\n\n| field | type and bounds | meaning |\n|---|---|---|\n{rows}\n"


def rows_of(path: str, schema: dict[str, Any]) -> Iterator[str]:
    """The fields below *schema*, each followed by those of its own."""
    for name, field in schema.get("properties", {}).items():
        own, items = f"{path}.{name}", field.get("items")
        is_required = name in schema.get("required", ())
        kinds = [kind(field), *bounds(field), *(["required"] if is_required else [])]
        yield f"| `{own}` | {', '.join(kinds)} | {meaning(field)} |"
        yield from rows_of(f"{own}[]" if items else own, items or field)


def kind(field: dict[str, Any]) -> str:
    if field["type"] == "array":
        return f"list of {kind(field['items'])}s"
    stored = field.get("format", field["type"])
    return "time" if stored == "date-time" else stored


def bounds(field: dict[str, Any]) -> Iterator[str]:
    """Those of the field, and of its items if they are plain values."""
    for schema in (field, field.get("items", {})):
        yield from filter(None, (spelled(schema[name]) for name, spelled in BOUNDS.items() if name in schema))


def meaning(field: dict[str, Any]) -> str:
    """The description, and the rules between fields that the API server enforces."""
    rules = [rule["message"] for rule in field.get("x-kubernetes-validations", ())]
    items = field.get("items", {}).get("x-kubernetes-validations", ())
    sentences = [
        field.get("description", ""),
        *(f"*Rule: {each}.*" for each in [*rules, *(r["message"] for r in items)]),
    ]
    return cell(" ".join(filter(None, sentences)))


def columns(columns: list[dict[str, Any]]) -> str:
    rows = "\n".join(
        f"| {column['name']} | `{column['jsonPath']}` | {'with `-o wide`' if column.get('priority') else ''} | "
        f"{cell(column.get('description', ''))} |"
        for column in columns
    )
    return f"## Columns of `kubectl get`\n\n| column | from | shown | meaning |\n|---|---|---|---|\n{rows}\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
