"""A fake API server: it has no workloads, refuses to create any, and takes every status."""

from typing import Any

from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.errors import ApiGone, ApiRefused
from sharded_queue_operator.resource.name import Name

NAME = Name("shop", "n")


class Server:
    """Refuses each workload; takes every status."""

    def __init__(self, status: int = 500) -> None:
        self.status, self.message, self.applied = status, "etcd has no leader", 0
        self.applies = False
        self.told: dict[str, Any] = {}
        self.lists: list[dict[str, Any]] = [{"items": []}]
        """The pages of whatever is listed."""

    pages = Api.pages

    async def find(self, path: str) -> None:
        return None

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        if "deployments/" in path:
            raise ApiGone(404, "no such Deployment")
        return self.lists[int(query.get("continue", 0))]

    async def apply(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        self.applied += 1
        if self.applies:
            return manifest | {"metadata": manifest["metadata"] | {"resourceVersion": "1"}}
        raise ApiRefused(self.status, self.message)

    async def merge(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        self.told = patch["status"]
        return body() | {"status": self.told}

    async def create(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        return manifest


def body(version: int = 1, **spec: Any) -> dict[str, Any]:
    worker = {"image": "i", "modules": ["m"]}
    least = {"redis": {"addresses": ["127.0.0.1:1"]}, "handlers": [{"name": "a"}], "worker": worker}
    metadata = {"namespace": "shop", "name": "n", "uid": "1-2", "resourceVersion": str(version), "generation": version}
    kinds = {"apiVersion": "shardedqueue.dev/v1alpha1", "kind": "ShardedQueue"}
    return {**kinds, "metadata": metadata, "spec": least | spec}
