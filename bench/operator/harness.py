"""A namespace to measure in, and independent watches of the API server with the times of their events."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from redis.asyncio import Redis

from sharded_queue_operator.cluster.api import Api, core, queues
from sharded_queue_operator.resource.deployment import Manifest
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import API_VERSION, KIND
from tools.cluster.cluster import Cluster
from tools.cluster.namespace import fresh_namespace
from tools.cluster.paths import NODE_ADDRESS
from tools.operator_process import Start, starting
from tools.redis_server import RedisServer

PATIENCE_SECONDS = 60.0
LARGEST_LINE = 2**24
AT_ONCE = 16
"""Number of concurrent calls to the API server when many objects are created."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """An object as the API server reported it. *at* is when the event arrived, by the clock that all pods share."""

    at: float
    kind: str
    name: str
    is_gone: bool
    body: Manifest


class Watch:
    """The events of `kubectl get --watch` of one kind, with the times at which they arrived."""

    def __init__(self) -> None:
        self.sightings: list[Sighting] = []
        self.news = asyncio.Condition()

    async def listen(self, lines: asyncio.StreamReader) -> None:
        while line := await lines.readline():
            at, event = time.time(), json.loads(line)
            body = event["object"]
            if event["type"] == "ERROR":
                raise RuntimeError(f"the watch ended: {body}")
            seen = Sighting(at, body["kind"], body["metadata"]["name"], event["type"] == "DELETED", body)
            async with self.news:
                self.sightings.append(seen)
                self.news.notify_all()

    async def first(self, holds: Callable[[Sighting], object], what: str) -> Sighting:
        """The first sighting, past or future, for which *holds* is true."""
        looked = 0
        async with asyncio.timeout(PATIENCE_SECONDS), self.news:
            while True:
                for seen in self.sightings[looked:]:
                    if holds(seen):
                        return seen
                looked = len(self.sightings)
                await self.news.wait()
        raise TimeoutError(f"never seen: {what}")

    @property
    def living(self) -> set[str]:
        """Names of the objects that exist now."""
        names: set[str] = set()
        for seen in self.sightings:
            names.discard(seen.name) if seen.is_gone else names.add(seen.name)
        return names

    async def until_none(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self.news:
            await self.news.wait_for(lambda: not self.living)


class Harness:
    def __init__(self, cluster: Cluster, namespace: str, folder: Path, api: Api, server: RedisServer) -> None:
        self.cluster, self.namespace, self.folder = cluster, namespace, folder
        self.api, self.server = api, server
        self.redis = Redis(port=server.port)

    @property
    def address(self) -> str:
        """Address of the Redis, for pods and for the operator."""
        return f"{NODE_ADDRESS}:{self.server.port}"

    def queue(self, name: str, handler: str, **spec: Any) -> Manifest:
        """A ShardedQueue. Unless *spec* says otherwise, its pods find no node: they never run and cost nothing."""
        template = {"spec": {"nodeSelector": {"bench": "nowhere"}}}
        asked = {
            "redis": {"addresses": [self.address]},
            "handlers": [{"name": handler}],
            "worker": {"image": "localhost/notifications:dev", "modules": ["timestamps"], "template": template},
        }
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": asked | spec}

    async def create(self, manifests: Sequence[Manifest]) -> None:
        """Create all of them concurrently."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def created(manifest: Manifest) -> None:
            async with gate:
                await self.api.create(queues(namespace=self.namespace), manifest)

        await asyncio.gather(*map(created, manifests))

    async def delete(self, name: str) -> None:
        await self.api.call("DELETE", queues(Name(self.namespace, name)))

    async def share(self, name: str, files: Mapping[str, str]) -> None:
        """Create a ConfigMap that pods can mount."""
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": dict(files)}
        await self.api.create(core("configmaps", namespace=self.namespace), manifest)

    @asynccontextmanager
    async def watching(self, kind: str, *options: str) -> AsyncIterator[Watch]:
        """Watch the objects of a kind in this namespace, including those that exist already."""
        command = ["kubectl", "get", kind, "--namespace", self.namespace]
        command += ["--watch", "--output-watch-events", "--output=json", *options]
        process = await asyncio.create_subprocess_exec(
            *command,
            env=self.cluster.env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LARGEST_LINE,
        )
        assert process.stdout
        watch = Watch()
        listening = asyncio.create_task(watch.listen(process.stdout))
        try:
            yield watch
        finally:
            process.kill()
            await process.wait()
            await listening


@asynccontextmanager
async def set_up(cluster: Cluster, purpose: str, **options: str) -> AsyncIterator[tuple[Harness, Start]]:
    """
    A namespace with a Redis of these options, and a function that starts operators for it. All end with the block.
    """
    settings = Configuration()
    await config.load_kube_config(config_file=str(cluster.kubeconfig), client_configuration=settings)  # type: ignore[no-untyped-call]
    api = Api(ApiClient(settings), PATIENCE_SECONDS)
    options = {"bind": f"127.0.0.1 {NODE_ADDRESS}", "protected-mode": "no", **options}
    with TemporaryDirectory() as place, fresh_namespace(cluster, f"bench-{purpose}") as namespace:
        folder = Path(place)
        server = RedisServer(folder / "redis", **options).start()
        harness = Harness(cluster, namespace, folder, api, server)
        try:
            with starting(cluster, namespace, folder) as start:
                yield harness, start
        finally:
            await harness.redis.aclose()
            await api.close()
            server.kill()
