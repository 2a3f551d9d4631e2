"""What the API server stores of a ShardedQueue: a field that leaves the schema leaves every stored resource as well."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.operator_process import CRDS

SERVED = Path(__file__).with_name("served_fields.txt")
"""All fields that v1alpha1 has ever served to an author. A line may go with the version, and not before."""


def fields(schema: Mapping[str, Any], at: str) -> Iterator[str]:
    for name, part in (schema.get("properties") or {}).items():
        yield f"{at}.{name}"
        yield from fields(part, f"{at}.{name}")
    if "items" in schema:
        yield from fields(schema["items"], f"{at}[]")


def test_no_field_is_pruned_without_a_conversion() -> None:
    """`secondsPerRequest` was, and nobody was told."""
    (version,) = yaml.safe_load((CRDS / "shardedqueues.yaml").read_text())["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    served, now = set(SERVED.read_text().splitlines()), set(fields(spec, "spec"))

    assert served - now == set(), "the server would drop these from stored resources: see docs/decisions"
    assert now - served == set(), f"add these to {SERVED.name}"
