"""
Real pods by lanes and by messages, in turns: how soon the same requests are handled, and for how many pod-seconds.

Both sides have the same resource, hence the same Deployment made by the same operator. For the rival the resource only
recommends, and the rule of `bench.simulation` sets the replicas, on a real clock.
"""

import asyncio
import heapq
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import inf
from statistics import median

from bench.figure import Figure, number
from bench.operator.first_request import FILES, made, running, worker_of
from bench.operator.harness import Harness, Sighting, Watch, set_up
from bench.operator.scale import Scale
from bench.operator.timestamps import JOURNAL, Noted, Task
from bench.simulation.compare import OURS, PODS, RIVALS, Contender
from bench.simulation.targets import Target
from bench.simulation.timeline import SECOND
from bench.simulation.workloads import WORKLOADS, Workload
from bench.simulation.world import MEASURED
from sharded_queue import Queue, RedisStorage, settings
from sharded_queue.tube import Shard
from sharded_queue_operator.cluster.api import apps
from sharded_queue_operator.resource.name import Name
from tools.cluster.cluster import Cluster

DRAINED = [workload for workload in WORKLOADS if workload.name in {"hot", "flat-60", "flat-10", "long"}]
RIVAL = RIVALS[1]
CONTENDERS = (OURS, RIVAL)
LONGEST_SECONDS = 120.0

HEAD = ("workload", "pods by", "drain s", "pods", "pod-s", "drain × pod-s", "× ours")


@dataclass(frozen=True, slots=True)
class Drain:
    """
    *seconds*: from before `register` to the end of the last request, by the workers' journal. *first*: until the first
    thread is bound. *rise*: from the first pod until there are *most*.
    """

    seconds: float
    most: int
    pod_seconds: float
    first: float
    rise: float

    @property
    def product(self) -> float:
        return self.seconds * self.pod_seconds


TARGETS = (
    Target("flat-60", "drain", lambda drain: drain.seconds, "s", 11, 13.5),
    Target("flat-60", "pod-seconds to the drain", lambda drain: drain.pod_seconds, "", 150, 181),
    Target("flat-60", "first thread bound", lambda drain: drain.first, "s", 1, None, "all pods start at once"),
    Target("flat-10", "drain", lambda drain: drain.seconds, "s", 6, 8.3),
    Target("flat-10", "pod-seconds to the drain", lambda drain: drain.pod_seconds, "", 30, 22),
    Target("long", "first pod → 20 pods", lambda drain: drain.rise, "s", 5, 13.6),
    Target("long", "drain", lambda drain: drain.seconds, "s", 32, 40.5, "24 s of it are work for 20 pods"),
)


class Clock:
    """A timeline on the real clock."""

    def __init__(self) -> None:
        self.planned: list[tuple[float, int, float, Callable[[], None]]] = []
        self.numbers = count()
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def every(self, period: int, event: Callable[[], None], *, first: int) -> None:
        self.plan(first / SECOND, period / SECOND, event)

    def plan(self, at: float, period: float, event: Callable[[], None]) -> None:
        heapq.heappush(self.planned, (at, next(self.numbers), period, event))

    async def run(self, before: Callable[[], Awaitable[None]], after: Callable[[], Awaitable[None]]) -> None:
        """Run all events for ever, each between two awaited steps."""
        while True:
            at, _, period, event = heapq.heappop(self.planned)
            await asyncio.sleep(at - self.seconds)
            await before()
            event()
            await after()
            self.plan(at + period, period, event)


class Reality:
    """A real queue and a real Deployment, with the interface of the simulated world."""

    def __init__(self, harness: Harness, deployment: str) -> None:
        self.harness, self.deployment = harness, Name(harness.namespace, deployment)
        self.timeline = Clock()
        self.depth = self.wanted = self.applied = 0
        self.depths: Mapping[str, int] = {}

    def register(self, depths: Mapping[str, int]) -> None:
        self.depths = depths

    def scale(self, replicas: int, _: object) -> None:
        """The ReplicaSet chooses the pods to remove, as it does for the rival."""
        self.wanted = replicas

    async def run(self) -> None:
        await self.timeline.run(self.look, self.act)

    async def look(self) -> None:
        (state,) = await RedisStorage(self.harness.redis).observe([Shard(Noted.name)], 0)
        self.depth = state.depth

    async def act(self) -> None:
        if self.wanted != self.applied:
            await self.harness.api.merge(
                f"{apps('deployments', self.deployment)}/scale", {"spec": {"replicas": self.wanted}}
            )
            self.applied = self.wanted


async def measure(cluster: Cluster, scale: Scale) -> AsyncIterator[tuple[Workload, dict[str, list[Drain]]]]:
    async with (
        set_up(cluster, "drain-cost") as (harness, start),
        harness.watching("deployments") as watch,
        harness.watching("pods") as pods,
    ):
        await asyncio.to_thread(start)
        await harness.share("handlers", FILES)
        for workload in DRAINED:
            drains: dict[str, list[Drain]] = {contender.name: [] for contender in CONTENDERS}
            for each in range(scale.rounds):
                for contender in CONTENDERS:
                    phase = (each + 0.5) / scale.rounds
                    drain = await drained(harness, watch, pods, workload, contender, phase)
                    print(f"  {workload.name}, {contender.name}: {summary(drain)}", flush=True)
                    drains[contender.name].append(drain)
            yield workload, drains


async def drained(
    harness: Harness, watch: Watch, pods: Watch, workload: Workload, contender: Contender, phase: float
) -> Drain:
    """One drain of a new queue."""
    is_ours = contender is OURS
    name = f"{workload.name}-{'lanes' if is_ours else 'messages'}-{phase * 100:.0f}"
    await harness.redis.flushall()
    scaling = {"maxReplicas": PODS, "threadsPerReplica": 1, "mode": "Automatic" if is_ours else "Recommend"}
    await made(harness, watch, [running(harness, name, Noted.name, scaling=scaling)])
    reality = Reality(harness, worker_of(name))
    workload.begin(reality)  # type: ignore[arg-type]
    tasks = [
        Task(thread, workload.costs(MEASURED).request) for thread, depth in reality.depths.items() for _ in range(depth)
    ]
    began = time.time()
    for at in range(0, len(tasks), settings.register_limit):
        await Queue(RedisStorage(harness.redis)).register(Noted, *tasks[at : at + settings.register_limit])
    scaling_by_messages = asyncio.create_task(asyncio.sleep(0) if is_ours else ruled(reality, contender, phase))
    try:
        first, ended = await handled(harness, len(tasks))
    finally:
        scaling_by_messages.cancel()
    drain = summed(pods.sightings, f"{worker_of(name)}-", began, first, ended)
    await harness.delete(name)
    await pods.until_none()
    return drain


async def ruled(reality: Reality, contender: Contender, phase: float) -> None:
    contender.rule(phase).attend(reality)  # type: ignore[arg-type]
    await reality.run()


async def handled(harness: Harness, count: int) -> tuple[float, float]:
    """
    When the first thread was bound, and the last of *count* requests was handled. A blocking command waits for it, so
    no polls disturb.
    """
    handled, first, ended = 0, inf, 0.0
    async with asyncio.timeout(LONGEST_SECONDS):
        while handled < count:
            if line := await harness.redis.blpop([JOURNAL], 1):
                note = json.loads(line[1])
                handled, first, ended = handled + note["count"], min(first, note["bound"]), max(ended, note["handled"])
    return first, ended


def summed(sightings: Sequence[Sighting], prefix: str, began: float, first: float, ended: float) -> Drain:
    """Each pod counts from its creation until it is gone, or until the queue is drained."""
    made_at: dict[str, float] = {}
    gone_at: dict[str, float] = {}
    for seen in sightings:
        if seen.name.startswith(prefix) and seen.at < ended:
            made_at.setdefault(seen.name, seen.at)
            if seen.is_gone:
                gone_at[seen.name] = seen.at
    lives = [(at, gone_at.get(name, ended)) for name, at in made_at.items()]
    at_once = {at: sum(begin <= at < end for begin, end in lives) for at, _ in lives}
    most = max(at_once.values())
    rise = min(at for at, number in at_once.items() if number == most) - min(at_once)
    return Drain(ended - began, most, sum(end - begin for begin, end in lives), first - began, rise)


def summary(drain: Drain) -> str:
    return f"{number(drain.seconds)} s with up to {drain.most} pods, {number(drain.pod_seconds)} pod-seconds"


def rows(workload: Workload, drains: Mapping[str, Sequence[Drain]]) -> list[tuple[str, ...]]:
    ours = median(drain.product for drain in drains[OURS.name])
    return [row(workload.title if name == OURS.name else "", name, each, ours) for name, each in drains.items()]


def row(title: str, name: str, drains: Sequence[Drain], ours: float) -> tuple[str, ...]:
    product = median(drain.product for drain in drains)
    values = [median(getattr(drain, part) for drain in drains) for part in ("seconds", "most", "pod_seconds")]
    return (title, name, *map(number, (*values, product, product / ours)))


def figures(workload: Workload, drains: Mapping[str, Sequence[Drain]]) -> Iterator[Figure]:
    for target in TARGETS:
        if target.workload == workload.name:
            value = median(map(target.measured, drains[OURS.name]))
            yield target.figure(f"{workload.title}, real pods", value)
    ours, theirs = (median(drain.product for drain in drains[each.name]) for each in CONTENDERS)
    name = f"{workload.title}, real pods: drain × pod-seconds, to {RIVAL.name}"
    yield Figure(name, ours / theirs, "×", f"{number(ours)} to {number(theirs)}", 1, "<")
