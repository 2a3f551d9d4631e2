"""
What the operator measures of itself and of each resource, and the page of it that Prometheus reads.

No metric has a label for a thread or a handler: the number of series grows with the number of resources alone.
"""

import platform

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sharded_queue.release import release

CONTENT_TYPE = CONTENT_TYPE_LATEST

registry = CollectorRegistry()

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Buckets of what takes milliseconds, and seconds where something is wrong."""

QUEUE = ("namespace", "queue")

desired_replicas = Gauge(
    "sharded_queue_desired_replicas", "Workers that the last decision asked for", QUEUE, registry=registry
)
recommended_replicas = Gauge(
    "sharded_queue_recommended_replicas",
    "Workers that the operator would set if nobody else held the number: after limits, window, pin and suspension",
    QUEUE,
    registry=registry,
)
current_replicas = Gauge("sharded_queue_current_replicas", "Worker pods that exist", QUEUE, registry=registry)
ready_replicas = Gauge("sharded_queue_ready_replicas", "Worker pods that are ready", QUEUE, registry=registry)
lanes = Gauge(
    "sharded_queue_lanes", "Lanes that the requests fill, before rounding and limits", QUEUE, registry=registry
)
depth = Gauge("sharded_queue_depth", "Requests not handled yet", QUEUE, registry=registry)
lag_seconds = Gauge("sharded_queue_lag_seconds", "Age of the oldest request", QUEUE, registry=registry)
overdue_seconds = Gauge(
    "sharded_queue_overdue_seconds",
    "For how long what is delayed or scheduled has been due, and no worker has taken it in",
    QUEUE,
    registry=registry,
)
unconsumed_depth = Gauge(
    "sharded_queue_unconsumed_depth",
    "Requests of handlers that no worker has polled for a minute",
    QUEUE,
    registry=registry,
)
workers_available = Gauge(
    "sharded_queue_workers_available",
    "1 while the wanted workers run or are starting, 0 while something keeps them from running",
    QUEUE,
    registry=registry,
)
contested = Gauge(
    "sharded_queue_contested", "1 while another writer holds the number of workers, else 0", QUEUE, registry=registry
)
pinned = Gauge(
    "sharded_queue_pinned", "1 while a person's number of workers is in force, else 0", QUEUE, registry=registry
)
outdated = Gauge(
    "sharded_queue_outdated",
    "1 while the pod template of this operator waits for its turn, else 0",
    QUEUE,
    registry=registry,
)
known = Gauge("sharded_queue_known", "1 while Redis answers for the queue, else 0", QUEUE, registry=registry)
accepted = Gauge("sharded_queue_accepted", "1 while the resource's spec is valid, else 0", QUEUE, registry=registry)

scalings = Counter(
    "sharded_queue_scalings_total", "Changes of the number of workers", (*QUEUE, "direction"), registry=registry
)
freed = Counter(
    "sharded_queue_freed_threads_total", "Threads freed from pods that have ended", QUEUE, registry=registry
)
polls = Counter(
    "sharded_queue_operator_polls_total",
    "Readings of resources, by whether Redis answered",
    ("outcome",),
    registry=registry,
)
for outcome in ("known", "unknown"):
    polls.labels(outcome)  # from zero on, as in `initialise`
poll_seconds = Histogram(
    "sharded_queue_operator_poll_seconds",
    "Duration of one reading of a Redis that answered, for all resources that share it",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    registry=registry,
)
api_calls = Counter(
    "sharded_queue_operator_api_calls_total",
    "Calls of the Kubernetes API, by verb and HTTP status",
    ("verb", "status"),
    registry=registry,
)
failures = Counter(
    "sharded_queue_operator_failures_total", "Reconciliations that failed and were retried", registry=registry
)
watch_failures = Counter(
    "sharded_queue_operator_watch_failures_total", "Ends of the watches, which then start again", registry=registry
)
rollouts = Gauge(
    "sharded_queue_operator_rollouts",
    "Queues by the stage of the rollout that a release of the operator causes",
    ("stage",),
    registry=registry,
)
workqueue_depth = Gauge(
    "sharded_queue_operator_workqueue_depth", "Resources that wait to be reconciled", registry=registry
)
workqueue_wait_seconds = Histogram(
    "sharded_queue_operator_workqueue_wait_seconds",
    "From the news of a resource to its reconciliation, without the pauses after failures",
    buckets=FAST,
    registry=registry,
)
workqueue_retries = Counter(
    "sharded_queue_operator_workqueue_retries_total",
    "Reconciliations that are repeated after a pause: those that failed, and those that were refused",
    registry=registry,
)
reconcile_seconds = Histogram(
    "sharded_queue_operator_reconcile_seconds",
    "Duration of one reconciliation, also of one that fails",
    buckets=FAST,
    registry=registry,
)
leading = Gauge("sharded_queue_operator_leading", "1 while this process may write", registry=registry)
build_info = Gauge(
    "sharded_queue_operator_build_info",
    "1; the labels are the releases of the operator and of Python",
    ("version", "python"),
    registry=registry,
)
build_info.labels(release(), platform.python_version()).set(1)

READ = (recommended_replicas, lanes, depth, lag_seconds, overdue_seconds, unconsumed_depth, known)
"""Known only while the Redis of a resource is read."""

OF_A_QUEUE = (
    *(desired_replicas, current_replicas, ready_replicas, workers_available, contested, pinned, outdated),
    *(*READ, accepted),
)


def initialise(namespace: str, queue: str) -> None:
    """Start the counters of a resource at zero: `rate` does not see the value that a series begins with."""
    for direction in ("up", "down"):
        scalings.labels(namespace, queue, direction)
    freed.labels(namespace, queue)


def drop_readings(namespace: str, queue: str) -> None:
    """Drop the gauges of a resource that is no longer read: the last values would look current."""
    for gauge in READ:
        gauge.remove_by_labels({"namespace": namespace, "queue": queue})


def forget(namespace: str, queue: str) -> None:
    """Drop all series of a resource that is gone."""
    for gauge in OF_A_QUEUE:
        gauge.remove_by_labels({"namespace": namespace, "queue": queue})
    for counter in (scalings, freed):
        counter.remove_by_labels({"namespace": namespace, "queue": queue})


async def exposition() -> bytes:
    """All metrics, as Prometheus reads them."""
    return generate_latest(registry)
