"""
The metrics of a worker process; docs/metrics.md lists them all.

There are two kinds. `sharded_queue_worker_…` is what this process did: sum it over processes. `sharded_queue_handler_…`
and `sharded_queue_tube_…` are what Redis knows, which every worker repeats: take the maximum.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sharded_queue.errors import StorageUnavailable
from sharded_queue.printable import printable
from sharded_queue.route import THREAD_BYTES
from sharded_queue.settings import settings
from sharded_queue.state import ShardState
from sharded_queue.storage import Storage, observe_readable
from sharded_queue.tube import Shard
from sharded_queue.worker.latency import BOUNDS_MS, Histogram, Latency
from sharded_queue.worker.loop import Worker

CONTENT_TYPE = CONTENT_TYPE_LATEST
REST = ("", "")
"""Thread and priority of the series that sums up all tubes not listed: no thread has an empty name."""

TUBE = ("handler", "thread", "priority")

BOUNDS = (*(str(bound / 1000) for bound in BOUNDS_MS), "+Inf")
NONE_YET = Latency()

HANDLER_COUNTERS = {
    "registered": "Requests that were ever registered",
    "duplicates": "Requests that were left out as the same as one registered before",
    "settled": "Requests that were handled and removed",
    "dead": "Requests that went to the dead letters",
    "busy_seconds": "Time that handlers spent on settled requests",
}


async def exposition(worker: Worker, shards: Sequence[Shard]) -> bytes:
    """The text of `/metrics`. While Redis does not answer, series about queues are absent: unknown is not zero."""
    states = await observed(worker.queue.storage, shards)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(Measured([*of_worker(worker, is_known=states is not None), *of_queues(states or [], shards)]))
    return generate_latest(registry)


async def observed(storage: Storage, shards: Sequence[Shard]) -> list[ShardState] | None:
    try:
        return (await observe_readable(storage, shards, settings.metrics_tubes))[0]
    except StorageUnavailable:
        return None


class Measured(Collector):
    """Metrics that were read before: reading Redis needs an event loop, and `collect` runs outside of it."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def of_worker(worker: Worker, *, is_known: bool) -> Iterator[Metric]:
    stats, prefix = worker.stats, "sharded_queue_worker"
    yield CounterMetricFamily(f"{prefix}_handled", "Requests handled and settled", stats.handled)
    yield CounterMetricFamily(f"{prefix}_batches", "Batches handled and settled", stats.batches)
    yield CounterMetricFamily(f"{prefix}_failures", "Calls of a handler that raised", stats.failed)
    yield CounterMetricFamily(f"{prefix}_busy_seconds", "Time in handlers, of settled batches", stats.busy_seconds)
    yield CounterMetricFamily(f"{prefix}_binds", "Threads bound", stats.bound)
    yield CounterMetricFamily(f"{prefix}_lost_leases", "Threads lost while they were held", stats.lost)
    yield GaugeMetricFamily(f"{prefix}_bound_threads", "Threads held now", len(worker.lanes))
    yield GaugeMetricFamily(f"{prefix}_redis_up", "1 if Redis answered this scrape, else 0", int(is_known))
    yield from of_latencies({name: stats.latencies.get(name, NONE_YET) for name in worker.known_handlers()})


def of_latencies(latencies: Mapping[str, Latency]) -> Iterator[HistogramMetricFamily]:
    """Handlers without requests so far are included: a rate needs a zero to begin with."""
    waits = histogram("worker_wait_seconds", "From registration, or the time of a delayed request, to its first try")
    calls = histogram("worker_handling_seconds", "Time of one call of a handler, also of one that raised")
    for name, latency in latencies.items():
        add_histogram(waits, name, latency.waits)
        add_histogram(calls, name, latency.calls)
    yield from (waits, calls)


def add_histogram(family: HistogramMetricFamily, handler: str, seen: Histogram) -> None:
    totals = map(float, accumulate(seen.counts))
    family.add_metric([handler], list(zip(BOUNDS, totals, strict=True)), seen.sum_ms / 1000)


def of_queues(states: Sequence[ShardState], shards: Sequence[Shard]) -> Iterator[Metric]:
    yield from (quarantined(states), exhausted(states), unreadable(states, shards))
    yield from of_handlers(states)


def quarantined(states: Sequence[ShardState]) -> GaugeMetricFamily:
    family = gauge("handler_quarantined", "Records that cannot be read and wait for a repair", "handler")
    for handler, group in groupby(states, key=lambda state: state.shard.handler):
        family.add_metric([handler], sum(state.quarantined for state in group))
    return family


def exhausted(states: Sequence[ShardState]) -> GaugeMetricFamily:
    family = gauge("handler_exhausted_threads", "Threads that stand still for a request without tries", "handler")
    for handler, group in groupby(states, key=lambda state: state.shard.handler):
        family.add_metric([handler], sum(state.exhausted for state in group))
    return family


def unreadable(states: Sequence[ShardState], shards: Sequence[Shard]) -> GaugeMetricFamily:
    """A handler with unreadable shards has no other series: a sum without these shards would be wrong."""
    family = gauge("handler_unreadable_shards", "Shards of which a key holds none of our data", "handler")
    known = {state.shard for state in states}
    for handler, group in groupby(shards if states else [], key=lambda shard: shard.handler):
        family.add_metric([handler], sum(shard not in known for shard in group))
    return family


def of_handlers(states: Sequence[ShardState]) -> Iterator[Metric]:
    threads = gauge("handler_threads", "Threads with requests, or held, by state", "handler", "state")
    depth = gauge("handler_depth", "Requests not settled yet", "handler")
    lag = gauge("handler_lag_seconds", "Age of the oldest request", "handler")
    overdue = gauge("handler_overdue_seconds", "For how long what is delayed or scheduled has been due", "handler")
    tube_depth = gauge("tube_depth", "Requests not settled yet", *TUBE)
    tube_lag = gauge("tube_lag_seconds", "Age of the oldest request", *TUBE)
    tube_state = gauge("tube_state", "1: what becomes of a listed tube, and who holds it", *TUBE, "state", "worker")
    counters = {name: counter(f"handler_{name}", text, "handler") for name, text in HANDLER_COUNTERS.items()}
    for handler, group in groupby(states, key=lambda state: state.shard.handler):
        shards = list(group)
        lag.add_metric([handler], max(state.lag_seconds for state in shards))
        overdue.add_metric([handler], max(state.overdue_seconds for state in shards))
        depth.add_metric([handler], sum(state.depth for state in shards))
        add_tubes((tube_depth, tube_lag, tube_state), handler, shards)
        for state_name in ("ready", "bound", "blocked", "parked"):
            threads.add_metric([handler, state_name], sum(getattr(state, state_name) for state in shards))
        for name, family in counters.items():
            family.add_metric([handler], sum(getattr(state, name) for state in shards))
    yield from (threads, depth, lag, overdue, tube_depth, tube_lag, tube_state, *counters.values())


def add_tubes(families: Sequence[GaugeMetricFamily], handler: str, shards: Sequence[ShardState]) -> None:
    """The tubes that wait longest, and one sum for the depth of all others."""
    depth, lag, tube_state = families
    listed = sorted((tube for state in shards for tube in state.oldest), key=lambda tube: -tube.lag_seconds)
    workers = {hold.thread: hold.worker for state in shards for hold in state.held if hold.lease_seconds > 0}
    rest = sum(state.depth for state in shards)
    for tube in listed[: settings.metrics_tubes]:
        labels = [handler, printable(tube.thread, THREAD_BYTES), str(tube.priority)]
        depth.add_metric(labels, tube.depth)
        lag.add_metric(labels, tube.lag_seconds)
        tube_state.add_metric([*labels, tube.state, printable(workers.get(tube.thread, ""))], 1)
        rest -= tube.depth
    depth.add_metric([handler, *REST], rest)


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sharded_queue_{name}", text, labels=labels)


def counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"sharded_queue_{name}", text, labels=labels)


def histogram(name: str, text: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(f"sharded_queue_{name}", text, labels=["handler"])
