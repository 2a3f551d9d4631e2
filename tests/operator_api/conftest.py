"""
Tests of the operator as a local process, against a real API server and a real redis-server. No pod needs to run, but
for the tests that ask for `cluster`.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.coordinator import BindRequest
from sharded_queue.lease import Lease
from sharded_queue.storage import Entry, Registration, Schedule, Settlement
from sharded_queue.timing import every
from sharded_queue.tube import Keys, Shard
from tests.harness.requirements import require_redis
from tools.cluster.cluster import Cluster
from tools.operator_process import PATIENCE, Operator, Start, install_crd, starting, until
from tools.redis_server import RedisServer

HANDLER = "notifications.NotifyHandler"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


class QueueServer(RedisServer):
    """A redis-server that can be taken away and comes back with its data, and what a producer does to it."""

    def run(self, work: Callable[[Redis], Any], **credentials: str) -> Any:
        async def connected() -> Any:
            async with Redis(host="127.0.0.1", port=self.port, **credentials) as client:
                return await work(client)

        return asyncio.run(connected())

    def register(self, threads: int, each: int, handler: str = HANDLER, prefix: str = "", **credentials: str) -> None:
        """Requests as a producer would leave them; nobody here handles them."""
        entries = [Entry(str(thread), 0, [b"[1]"] * each) for thread in range(threads)]
        keys = Keys(f"{prefix}tube_", f"{prefix}lock_")
        self.run(
            lambda client: RedisStorage(client, keys=keys).register(Shard(handler), Registration(entries)),
            **credentials,
        )

    def schedule(self, every_seconds: float) -> None:
        """A request that is to come again and again; nobody here registers it."""
        schedule = Schedule("beat", every(every_seconds), "0", 0, b"[1]")
        self.run(lambda client: RedisStorage(client).schedule(Shard(HANDLER), schedule))

    def bind(self, owner: str, lease_seconds: float = 600) -> Lease:
        """Hold one more thread, as a worker would."""

        async def bound(client: Redis) -> Lease:
            coordinator = RedisCoordinator(client)
            coordinator.attach(RedisStorage(client))
            (batch,) = (await coordinator.bind(Shard(HANDLER), BindRequest(owner, 1, 1, lease_seconds))).batches
            return batch.lease

        lease: Lease = self.run(bound)
        return lease

    def release(self, *leases: Lease) -> None:
        """Let threads go, as a worker does that is cordoned and has ended their batches."""

        async def released(client: Redis) -> None:
            coordinator = RedisCoordinator(client)
            coordinator.attach(RedisStorage(client))
            await coordinator.release(leases)

        self.run(released)

    def pause(self, is_paused: bool) -> None:
        self.run(lambda client: RedisStorage(client).pause(Shard(HANDLER), None, is_paused))

    def handle(self) -> None:
        """Settle all that waits, as a worker would."""

        async def handled(client: Redis) -> None:
            coordinator, storage = RedisCoordinator(client), RedisStorage(client)
            coordinator.attach(storage)
            while batches := (await coordinator.bind(Shard(HANDLER), BindRequest("laptop/f00d", 1, 1_000, 60))).batches:
                done = [Settlement(b.lease, b.tube.priority, b.last, 0.01, 0, release=True) for b in batches]
                await storage.settle(done)

        self.run(handled)

    def owners(self) -> set[str]:
        (state,) = self.run(lambda client: RedisStorage(client).observe([Shard(HANDLER)]))
        return {hold.owner for hold in state.held}

    def flush(self) -> None:
        self.run(lambda client: client.flushall())


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[QueueServer]:
    """One for each test, as most tests do something to it."""
    require_redis()
    server = QueueServer(tmp_path / "redis", appendonly="yes")
    server.start()
    yield server
    server.stop()


class Queues:
    """What a person with kubectl sees and does in one namespace."""

    def __init__(self, cluster: Cluster, namespace: str, redis: QueueServer) -> None:
        self.cluster, self.namespace, self.redis = cluster, namespace, redis

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, stdin=stdin)

    def manifest(self, name: str = "notifications", **spec: Any) -> dict[str, Any]:
        """A worker a thread, where *spec* does not say how many threads a replica has."""
        least = {
            "redis": {"addresses": [self.redis.address]},
            "handlers": [{"name": HANDLER}],
            "worker": {"image": "localhost/absent:dev", "modules": ["notifications"]},
        }
        asked = {key: value for key, value in (least | spec).items() if value is not None}
        asked["scaling"] = {"threadsPerReplica": 1} | asked.get("scaling", {})
        return {
            "apiVersion": "shardedqueue.dev/v1alpha1",
            "kind": "ShardedQueue",
            "metadata": {"name": name},
            "spec": asked,
        }

    def apply(self, name: str = "notifications", **spec: Any) -> str:
        return self.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump(self.manifest(name, **spec)))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        body: dict[str, Any] = yaml.safe_load(self.kubectl("get", kind, name, "--output", "yaml"))
        return body

    def wait(self, path: str, value: object, *, kind: str = "shq", name: str = "notifications") -> None:
        condition = f"--for=jsonpath={{{path}}}={value}"
        self.kubectl("wait", "--for=create", f"{kind}/{name}", f"--timeout={PATIENCE:.0f}s")
        self.kubectl("wait", condition, f"{kind}/{name}", f"--timeout={PATIENCE:.0f}s")

    def wait_for_condition(self, type_: str, reason: str, name: str = "notifications") -> None:
        self.wait(f'.status.conditions[?(@.type=="{type_}")].reason', reason, name=name)

    def wait_until_served(self, name: str = "notifications") -> None:
        """Until the operator follows the queue. Its pods have no image, which `Ready` says sooner or later."""

        def is_served() -> bool:
            conditions = (self.get("shq", name).get("status") or {}).get("conditions", [])
            (reason,) = [each["reason"] for each in conditions if each["type"] == "Ready"] or [""]
            return reason in {
                "Scaling",
                "RollingOut",
                "ImagePullBackOff",
                "Pinned",
                "Suspended",
                "Paused",
                "Recommending",
            }

        until(is_served, f"{name} is served")

    def wait_for_replicas(self, replicas: int, name: str = "notifications-worker") -> None:
        self.wait(".spec.replicas", replicas, kind="deployment", name=name)

    def replicas(self, name: str = "notifications-worker") -> int:
        replicas: int = self.get("deployment", name)["spec"]["replicas"]
        return replicas

    def events(self) -> list[tuple[str, str]]:
        """Reasons and messages of what was said of the queues, oldest first."""
        found = yaml.safe_load(self.kubectl("get", "events", "--output", "yaml"))["items"]
        ours = [item for item in found if item["involvedObject"]["kind"] == "ShardedQueue"]
        return [(item["reason"], item["message"]) for item in sorted(ours, key=lambda item: item["lastTimestamp"])]

    def wait_for_event(self, reason: str) -> str:
        return str(until(lambda: next((m for r, m in self.events() if r == reason), None), f"event {reason}"))


@pytest.fixture(scope="session")
def crd(api_server: Cluster) -> None:
    install_crd(api_server)


@pytest.fixture
def queues(api_server: Cluster, namespace: str, redis_server: QueueServer, crd: None) -> Queues:
    return Queues(api_server, namespace, redis_server)


@pytest.fixture
def start_operator(api_server: Cluster, namespace: str, tmp_path: Path, crd: None) -> Iterator[Start]:
    try:
        with starting(api_server, namespace, tmp_path) as start:
            yield start
    finally:
        for file in sorted(tmp_path.glob("operator-*.log")):
            print(f"--- {file.name}\n{file.read_text()}")


@pytest.fixture
def operator(start_operator: Start) -> Operator:
    return start_operator()
