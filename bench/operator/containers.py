"""Container events of containerd as they happen. The status of a pod follows a second or two later."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tools.cluster.cluster import Cluster
from tools.cluster.node import Node

POD, KIND = "io.kubernetes.pod.name", "io.cri-containerd.kind"


class Containers:
    def __init__(self, node: Node) -> None:
        self.node = node
        self.started_at: dict[str, float] = {}

    @classmethod
    @asynccontextmanager
    async def of(cls, cluster: Cluster) -> AsyncIterator["Containers"]:
        assert cluster.node
        containers = cls(cluster.node)
        process = await asyncio.create_subprocess_exec(
            *("ctr", "--address", str(cluster.node.socket), "--namespace", "k8s.io", "events"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout
        listening = asyncio.create_task(containers.listen(process.stdout))
        try:
            yield containers
        finally:
            process.kill()
            await process.wait()
            await listening

    async def listen(self, lines: asyncio.StreamReader) -> None:
        while line := await lines.readline():
            at, (_, topic, event) = time.time(), line.decode().rpartition(" /")
            name, _, event = event.partition(" ")
            if topic and name == "tasks/start":
                self.started_at[json.loads(event)["container_id"]] = at

    async def started(self, pod: str) -> tuple[float, float]:
        """When a pod's sandbox began to run, and when its one container did."""
        found: dict[str, float] = {}
        for container, at in reversed(list(self.started_at.items())):
            labels = await asyncio.to_thread(self.labels, container)
            if labels.get(POD) == pod:
                found[labels[KIND]] = at
            if len(found) == 2:
                return found["sandbox"], found["container"]
        raise RuntimeError(f"containerd reported no container of {pod}")

    def labels(self, container: str) -> dict[str, str]:
        try:
            labels: dict[str, str] = json.loads(self.node.ctr("containers", "info", container))["Labels"]
        except RuntimeError:  # a container of another pod, which has gone already
            return {}
        return labels
