"""Which object of the cluster is meant."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Name(NamedTuple):
    """Namespace and name of an object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Name":
        metadata = body["metadata"]
        return cls(metadata.get("namespace", "default"), metadata["name"])
