"""The names of objects in the cluster."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Name(NamedTuple):
    """Namespace and name of an object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def is_in(self, namespace: str) -> bool:
        """Whether the object is in *namespace*; "" stands for all of them."""
        return namespace in {"", self.namespace}

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Name":
        metadata = body["metadata"]
        return cls(metadata.get("namespace", "default"), metadata["name"])
