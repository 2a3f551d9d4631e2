"""
The first request of an empty queue without workers: when is its Deployment patched, when is it handled, and what takes
that long?

Each repetition has a queue of its own, which never had a request or a worker. Where pods run, they are gone before the
next one begins.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from bench.arithmetic import percentile
from bench.figure import Figure, number
from bench.operator import timestamps
from bench.operator.containers import Containers
from bench.operator.harness import Harness, Sighting, Watch, set_up
from bench.operator.scale import Scale
from bench.operator.timestamps import FIRST, JOURNAL, NOTE_START, Task, first_of
from sharded_queue import Queue, RedisStorage
from sharded_queue.storage import Entry, Registration
from sharded_queue.tube import Shard
from sharded_queue_operator.resource.deployment import Manifest
from tools.cluster.cluster import Cluster

PAUSES = (0.1, 0.5)
"""Seconds between two first requests, random so that they fall anywhere between two polls."""

MANY_THREADS, EACH = 30, 100
"""A minute of work, at the 20 ms that a request is taken for before any is handled."""
SETTLED_SECONDS = 5.0
"""Five polls: if the operator wanted yet another number of workers, it would have written it by then."""

FILES = {"timestamps.py": Path(timestamps.__file__).read_text(), "sitecustomize.py": NOTE_START}
"""The files that are mounted into pods."""

STEPS = (
    "registered → Deployment patched (operator)",
    "→ pod made (Deployment and ReplicaSet controllers)",
    "→ pod on a node (scheduler)",
    "→ sandbox runs (kubelet, containerd, CNI)",
    "→ container runs (kubelet, containerd)",
    "→ Python runs",
    "→ the library and the handlers are imported",
    "→ the thread is bound (connected, first poll)",
    "→ the request is handled",
)


@dataclass(frozen=True, slots=True)
class Journey:
    """The times at which each of `STEPS` began, and at which the last one ended."""

    timestamps: Sequence[float]

    @property
    def seconds(self) -> float:
        return self.timestamps[-1] - self.timestamps[0]

    @property
    def steps(self) -> list[float]:
        return [end - begin for begin, end in pairwise(self.timestamps)]


async def patched(cluster: Cluster, scale: Scale) -> AsyncIterator[Figure]:
    times = []
    async with set_up(cluster, "patched") as (harness, start), harness.watching("deployments") as watch:
        await asyncio.to_thread(start)
        await made(harness, watch, [harness.queue(name_of(n), first_of(n)) for n in range(scale.firsts)])
        for each in range(scale.firsts):
            await asyncio.sleep(random.uniform(*PAUSES))
            times.append(await until_patched(harness, watch, each))
        workers, writes = await writes_to_many(harness, watch)
    yield Figure(
        "first request → Deployment patched, p50",
        median(times) * 1000,
        "ms",
        f"{len(times)} queues without workers; from before `register` to the line of an independent watch",
        150,
        "≤",
    )
    yield Figure("first request → Deployment patched, p99", percentile(times, 99) * 1000, "ms", "", 500, "≤")
    yield Figure(
        f"writes to the Deployment for 0 → {workers}",
        writes,
        "",
        note=f"{MANY_THREADS * EACH:,} requests in {MANY_THREADS} threads; its `generation`",
        bound=1,
        sense="≤",
    )


async def made(harness: Harness, watch: Watch, manifests: Sequence[Manifest]) -> None:
    """Create the resources, and wait for their Deployments, which have no workers yet."""
    await harness.create(manifests)
    for manifest in manifests:
        await watch.first(named(worker_of(manifest["metadata"]["name"])), "a Deployment of each resource")


async def until_patched(harness: Harness, watch: Watch, each: int) -> float:
    began = time.time()
    await Queue(RedisStorage(harness.redis)).register(FIRST[each], Task("one", 0))
    seen = await watch.first(scaled(worker_of(name_of(each))), "replicas of a first request")
    return seen.at - began


async def writes_to_many(harness: Harness, watch: Watch) -> tuple[int, int]:
    """How many workers are asked for when many are needed at once, and in how many writes to the Deployment."""
    name, shard = "many", Shard("bench.many")
    await made(harness, watch, [harness.queue(name, shard.handler, scaling={"threadsPerReplica": 1})])
    entries = [Entry(str(thread), 0, [b"[1]"] * EACH) for thread in range(MANY_THREADS)]
    await RedisStorage(harness.redis).register(shard, Registration(entries))
    await watch.first(scaled(worker_of(name)), "workers")
    await asyncio.sleep(SETTLED_SECONDS)
    body = [seen.body for seen in watch.sightings if seen.name == worker_of(name)][-1]
    return int(body["spec"]["replicas"]), int(body["metadata"]["generation"]) - 1


async def handled(cluster: Cluster, scale: Scale) -> AsyncIterator[Figure]:
    journeys: list[Journey] = []
    async with (
        set_up(cluster, "handled") as (harness, start),
        harness.watching("deployments") as watch,
        harness.watching("pods") as pods,
        Containers.of(cluster) as containers,
    ):
        await asyncio.to_thread(start)
        await harness.share("handlers", FILES)
        for each in range(scale.journeys):
            await made(harness, watch, [running(harness, name_of(each), first_of(each))])
            journeys.append(await journey(harness, watch, pods, containers, each))
            await harness.delete(name_of(each))
            await pods.until_none()
    times = [journey.seconds for journey in journeys]
    yield Figure(
        "first request → handled by a new pod, p50",
        median(times),
        "s",
        f"{len(times)} queues without workers, image present; largest {number(max(times))} s; as the worker reports it",
        0.6,
        "≤",
    )
    for name, seconds in zip(STEPS, zip(*(journey.steps for journey in journeys), strict=True), strict=True):
        yield Figure(name, median(seconds) * 1000, "ms")


def running(harness: Harness, name: str, handler: str, **spec: object) -> Manifest:
    """A ShardedQueue whose pods run the handlers of `timestamps`."""
    container = {
        "name": "worker",
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "PYTHONPATH", "value": "/handlers"}],
        "volumeMounts": [{"name": "handlers", "mountPath": "/handlers"}],
    }
    pod = {"containers": [container], "volumes": [{"name": "handlers", "configMap": {"name": "handlers"}}]}
    worker = {"image": "localhost/notifications:dev", "modules": ["timestamps"], "template": {"spec": pod}}
    return harness.queue(name, handler, worker=worker, **spec)


async def journey(harness: Harness, watch: Watch, pods: Watch, containers: Containers, each: int) -> Journey:
    await asyncio.sleep(random.uniform(*PAUSES))
    await harness.redis.delete(JOURNAL)
    began = time.time()
    await Queue(RedisStorage(harness.redis)).register(FIRST[each], Task("one", 0))
    scaled_at = (await watch.first(scaled(worker_of(name_of(each))), "replicas of a first request")).at
    pod = await pods.first(lambda it: it.name.startswith(f"{worker_of(name_of(each))}-"), "a pod")
    placed = await pods.first(lambda it: it.name == pod.name and it.body["spec"].get("nodeName"), "a pod on a node")
    note = await noted(harness)
    sandbox, container = await containers.started(pod.name)
    return Journey(
        [
            began,
            scaled_at,
            pod.at,
            placed.at,
            sandbox,
            container,
            note["started"],
            note["imported"],
            note["bound"],
            note["handled"],
        ]
    )


async def noted(harness: Harness) -> Mapping[str, float]:
    """The timestamps of the worker. A blocking command waits for it, so no polls disturb."""
    line = await harness.redis.blpop([JOURNAL], 30)
    if line is None:
        raise TimeoutError("the first request was not handled within 30 s")
    note: Mapping[str, float] = json.loads(line[1])
    return note


def name_of(each: int) -> str:
    return f"first-{each:03d}"


def worker_of(name: str) -> str:
    return f"{name}-worker"


def named(name: str) -> Callable[[Sighting], bool]:
    return lambda seen: seen.name == name


def scaled(name: str) -> Callable[[Sighting], bool]:
    return lambda seen: seen.name == name and seen.body["spec"]["replicas"] > 0
