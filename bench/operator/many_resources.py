"""A thousand resources on one Redis: the cost of the operator while nothing happens."""

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.arithmetic import percentile
from bench.figure import Figure, number
from bench.operator.first_request import name_of, until_patched
from bench.operator.harness import Harness, set_up
from bench.operator.scale import Scale
from bench.operator.timestamps import first_of
from sharded_queue import RedisStorage
from sharded_queue.storage import Cause, Entry, Registration
from sharded_queue.tube import Shard
from tools.cluster.cluster import Cluster
from tools.cluster.paths import NODE_ADDRESS
from tools.operator_process import Operator, until
from tools.ports import free_port
from tools.redis_proxy import CountingProxy

THREADS, EACH = 10, 3
PERIOD_SECONDS = 1
STARTED_SECONDS = 15
PAUSE_SECONDS = 0.5
"""Between two looks at all metrics, which cost the operator a tenth of a second."""
SETTLE_SECONDS = 5.0
PATIENCE = 120.0
"""Seconds for ten polls of all resources: on a slow machine each takes longer than its period."""
FIRSTS = 30
"""Number of queues beside the thousand that get a first request."""

SCALING = {"mode": "Recommend", "pollPeriodSeconds": PERIOD_SECONDS}
"""No pod is made for requests that wait, so the operator only reads."""

POLL = "sharded_queue_operator_poll_seconds"
WRITES = frozenset({"create", "update", "patch", "delete"})


@dataclass(frozen=True, slots=True)
class Account:
    """The resources that the operator had used at a moment."""

    at: float
    polls: float
    poll_seconds: float
    cpu_seconds: float
    writes: float

    @classmethod
    async def of(cls, operator: Operator) -> "Account":
        page = await asyncio.to_thread(operator.page, "/metrics")
        return cls(
            time.monotonic(),
            value(page, f"{POLL}_count"),
            value(page, f"{POLL}_sum"),
            cpu_seconds(operator.process.pid),
            await asyncio.to_thread(operator.writes),
        )


async def measure(cluster: Cluster, scale: Scale) -> AsyncIterator[Figure]:
    async with set_up(cluster, "many-resources", appendonly="yes") as (harness, start):
        await use(harness, scale.resources)
        operator: Operator = await asyncio.to_thread(start)
        await harness.create([resource(harness, each, scale.replicas) for each in range(scale.resources)])
        await until_known(operator, scale.resources)
        await asyncio.to_thread(operator.kill)
        began = time.monotonic()
        operator = await asyncio.to_thread(start)
        await until_known(operator, scale.resources)
        known = time.monotonic() - began
        yield Figure(f"a starting operator has read {scale.resources:,} queues", known, "s", "", STARTED_SECONDS, "≤")
        await until_at_rest(operator)
        async for figure in at_rest(harness, operator, scale):
            yield figure
        async for figure in awakened(harness, operator, scale):
            yield figure
        await fill(harness, scale.resources)
        await until_at_rest(operator)
        async for figure in beside_requests(operator, scale):
            yield figure
        yield await round_trips(harness, operator, scale)


def resource(harness: Harness, each: int, replicas: int) -> Any:
    scaling = SCALING | {"mode": "Automatic", "minReplicas": replicas, "maxReplicas": replicas} if replicas else SCALING
    return harness.queue(f"many-{each:04d}", handler_of(each), scaling=scaling)


def handler_of(each: int) -> str:
    return f"bench.many.{each:04d}"


async def use(harness: Harness, resources: int) -> None:
    """Queues that had requests, and have none."""
    storage = RedisStorage(harness.redis)
    for each in range(resources):
        shard = Shard(handler_of(each))
        await storage.register(shard, Registration([Entry("0", 0, [b"[1]"])]))
        await storage.drop(shard, "0", Cause("bench", "an idle queue"))


async def fill(harness: Harness, resources: int) -> None:
    storage = RedisStorage(harness.redis)
    entries = [Entry(str(thread), 0, [b"[1]"] * EACH) for thread in range(THREADS)]
    for each in range(resources):
        await storage.register(Shard(handler_of(each)), Registration(entries))


async def until_known(operator: Operator, resources: int) -> None:
    def are_known() -> bool:
        time.sleep(PAUSE_SECONDS)
        return operator.total("sharded_queue_known") == resources

    await asyncio.to_thread(until, are_known, "all queues are known", 300)


async def until_at_rest(operator: Operator) -> None:
    with suppress(AssertionError):  # the number of writes at rest then shows it
        await asyncio.to_thread(until, lambda: is_at_rest(operator), "nothing is written any more", 60)


def is_at_rest(operator: Operator) -> bool:
    before = operator.writes()
    time.sleep(SETTLE_SECONDS)
    return operator.writes() == before


async def at_rest(harness: Harness, operator: Operator, scale: Scale) -> AsyncIterator[Figure]:
    log = harness.cluster.audit_log
    assert log
    marked, before = log.stat().st_size, await Account.of(operator)
    await asyncio.sleep(scale.rest_seconds)
    after = await Account.of(operator)
    seconds, polls = after.at - before.at, after.polls - before.polls
    length = (after.poll_seconds - before.poll_seconds) / polls
    cpu = (after.cpu_seconds - before.cpu_seconds) / seconds
    yield Figure("RSS of the operator", rss_mib(operator.process.pid), "MiB", idle(scale), 150, "≤")
    yield Figure(
        "writes to the API at rest, a minute",
        written(log, marked, harness.namespace) / seconds * 60,
        "",
        note=f"by the audit log of {seconds:.0f} s; by the operator's own metric {after.writes - before.writes:.0f}",
        bound=0,
        sense="≤",
    )
    yield Figure(
        "duration of a poll, as a share of its period",
        length / PERIOD_SECONDS,
        "",
        note=f"{length * 1000:.0f} ms on average, {polls:.0f} polls in {seconds:.0f} s",
        bound=0.2,
        sense="≤",
    )
    yield Figure("CPU of the operator at rest", cpu, "cores", f"{idle(scale)}, read each second", 0.1, "≤")


async def beside_requests(operator: Operator, scale: Scale) -> AsyncIterator[Figure]:
    before = await Account.of(operator)
    await asyncio.sleep(scale.rest_seconds)
    after = await Account.of(operator)
    cpu = (after.cpu_seconds - before.cpu_seconds) / (after.at - before.at)
    note = f"the same, with {THREADS} threads that wait in each"
    yield Figure("CPU of the operator while requests wait", cpu, "cores", note)


def idle(scale: Scale) -> str:
    pods = f" with {scale.replicas * scale.resources:,} pods" if scale.replicas else ""
    return f"{scale.resources:,} idle queues{pods} on one Redis"


async def awakened(harness: Harness, operator: Operator, scale: Scale) -> AsyncIterator[Figure]:
    """First requests to additional queues, beside all that rest."""
    times = []
    count = min(FIRSTS, scale.firsts)
    async with harness.watching("deployments", "--watch-only") as watch:
        await harness.create([harness.queue(name_of(each), first_of(each)) for each in range(count)])
        await until_known(operator, scale.resources + count)
        for each in range(count):
            await asyncio.sleep(random.uniform(0.1, 1.1))
            times.append(await until_patched(harness, watch, each))
    p90 = number(percentile(times, 90) * 1000)
    name = f"first request → Deployment patched beside {scale.resources:,} others, p50"
    yield Figure(name, median(times) * 1000, "ms", f"{count} queues; p90 {p90} ms", 60, "≤")


async def round_trips(harness: Harness, operator: Operator, scale: Scale) -> Figure:
    """Count round trips: Redis moves to another port, and a counting proxy takes its place."""
    port = harness.server.port
    await asyncio.to_thread(harness.server.stop)
    harness.server.port = free_port()
    await asyncio.to_thread(harness.server.start)
    async with CountingProxy(harness.server.port, port, NODE_ADDRESS) as proxy:
        await asyncio.to_thread(operator.wait_for_polls, 3 * scale.resources, patience=PATIENCE)
        before, trips = await Account.of(operator), proxy.trips
        await asyncio.to_thread(operator.wait_for_polls, scale.polls * scale.resources, patience=PATIENCE)
        after, polled = await Account.of(operator), proxy.trips - trips
    polls = after.polls - before.polls
    return Figure(
        "round trips to Redis a poll", polled / polls, "", f"{polled} in {polls:.0f} polls, by a proxy", 2, "≤"
    )


def written(log: Path, start: int, namespace: str) -> int:
    """The writes to a namespace by anything outside Kubernetes itself, after position *start* of the audit log."""
    with log.open() as lines:
        lines.seek(start)
        events = [json.loads(line) for line in lines if f'"{namespace}"' in line]
    return sum(
        event["verb"] in WRITES
        and event.get("objectRef", {}).get("namespace") == namespace
        and not event["user"]["username"].startswith("system:")
        for event in events
    )


def value(page: str, metric: str) -> float:
    (line,) = [line for line in page.splitlines() if line.startswith(f"{metric} ")]
    return float(line.rpartition(" ")[2])


def cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024
