"""Pods of a workload, a fake API server that has them, and a coordinator that records its calls."""

from collections.abc import Sequence
from time import monotonic
from typing import Any

from sharded_queue.errors import StorageUnavailable
from sharded_queue.state import Hold, ShardState
from sharded_queue.tube import Shard
from sharded_queue_operator.cluster.pod import COST
from sharded_queue_operator.cluster.pods import PodTracker
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource, parsed
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.observation import Doubt, Observation

SHARD = Shard("a")
NAME = Name("shop", "n")
FOUR = Workload(4, 4, 4, "app=n", "deployment-n")


def resource(**spec: Any) -> Resource:
    least = {"redis": {"addresses": ["redis:6379"]}, "handlers": [{"name": "a"}]}
    worker = {} if "scaleTargetRef" in spec else {"worker": {"image": "i", "modules": ["m"]}}
    metadata = {"namespace": "shop", "name": "n"}
    kinds = {"apiVersion": "shardedqueue.dev/v1alpha1", "kind": "ShardedQueue"}
    return parsed({**kinds, "metadata": metadata, "spec": {**least, **worker, **spec}})


def pod(name: str, controller: str = "n", kind: str = "ReplicaSet", uid: str = "") -> dict[str, Any]:
    """A pod of the Deployment with the uid `deployment-NAME`, by its ReplicaSet, or of the StatefulSet `set-NAME`."""
    owner_uid = f"replicas-{controller}" if kind == "ReplicaSet" else f"set-{controller}"
    owners = [{"kind": kind, "name": f"{controller}-77", "uid": owner_uid, "controller": True}]
    labels = {"shardedqueue.dev/queue": "n"}
    metadata = {"namespace": "shop", "name": name, "uid": uid or f"uid-{name}", "labels": labels}
    running = [{"name": "worker", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": running}
    return {"metadata": metadata | {"ownerReferences": owners}, "spec": {"nodeName": "node"}, "status": ready}


def ended(body: dict[str, Any], phase: str = "Failed") -> dict[str, Any]:
    """As its kubelet reports it."""
    body["status"] |= {
        "phase": phase,
        "containerStatuses": [{"name": "worker", "state": {"terminated": {"exitCode": 137}}}],
    }
    return body


def seen(*pods: str, read_at: float | None = None, doubt: Doubt | None = None) -> Observation:
    """Workers hold threads: in pods of ours, or elsewhere when their names have a dot."""
    owners = [name if "." in name else f"shop.{name}" for name in pods]
    held = [Hold(f"t{index}", f"{owner}/f00d", 1, 1.0) for index, owner in enumerate(owners)]
    return Observation(4, [ShardState(SHARD, held=held)], monotonic() if read_at is None else read_at, doubt)


class PodServer:
    """The pods of an API server, and what was patched."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.pods = {each["metadata"]["name"]: each for each in pods}
        self.costs: dict[str, str] = {}
        self.refuses = False
        self.lists = self.finds = 0
        self.owner: str | None = None
        """Of all ReplicaSets, in place of their own."""

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        if self.refuses:
            raise ApiRefused(403, "no right to list pods")
        self.lists += 1
        return {"items": list(self.pods.values())}

    async def find(self, path: str) -> dict[str, Any] | None:
        if self.refuses:
            raise ApiRefused(403, "no right to read pods and their controllers")
        self.finds += 1
        kind, name = path.split("/")[-2:]
        return self.replica_set(name.removesuffix("-77")) if kind == "replicasets" else self.pods.get(name)

    def replica_set(self, controller: str) -> dict[str, Any]:
        owner: dict[str, Any] = {
            "kind": "Deployment",
            "name": controller,
            "uid": self.owner or f"deployment-{controller}",
        }
        owner["controller"] = True
        return {"metadata": {"name": f"{controller}-77", "uid": f"replicas-{controller}", "ownerReferences": [owner]}}

    async def merge(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        if self.refuses:
            raise ApiRefused(403, "no right to patch pods")
        self.costs[path.rpartition("/")[2]] = patch["metadata"]["annotations"][COST]
        return {}


class RecordingCoordinator:
    """Records which workers were cordoned, and whose threads were freed."""

    def __init__(self) -> None:
        self.cordoned: list[tuple[list[str], float]] = []
        self.evicted: list[str] = []
        self.is_away = False

    async def cordon(self, shard: Shard, names: Sequence[str], seconds: float) -> None:
        if self.is_away:
            raise StorageUnavailable("no answer")
        self.cordoned.append(([name.removeprefix("shop.") for name in names], seconds))

    async def evict(self, shard: Shard, names: Sequence[str]) -> list[str]:
        if self.is_away:
            raise StorageUnavailable("no answer")
        self.evicted += names
        return [f"thread of {name}" for name in names]


def tracking(server: PodServer) -> PodTracker:
    """Knows the pods of *server* from the watch."""
    pods = PodTracker(server)  # type: ignore[arg-type]
    for body in server.pods.values():
        pods.keep(body)
    return pods
