"""The ShardedQueue of `test_release.py`, whose workers run `recording_handler.py`."""

from tests.chart.helm import Manifest
from tests.chart.release import queue
from tests.crash.worker_processes import BATCH, THREADS, StepHandler
from tests.e2e.conftest import worker_of

PODS = 3
LEASE_SECONDS = 60
"""Of the workers: what goes on sooner was healed and did not just expire."""

SCALING = {
    "maxReplicas": PODS,
    "threadsPerReplica": len(THREADS) // PODS,
    "targetDrainSeconds": 5,
    "scaleDownStabilizationSeconds": 5,
}


def steps(edition: str) -> Manifest:
    """With so many seconds a request that any load asks for all pods. Another *edition* takes other pods."""
    handlers = [{"name": StepHandler.name, "microsecondsPerRequest": 1_000_000}]
    worker = worker_of("steps", EDITION=edition, QUEUE_WORKER_BATCH_SIZE=BATCH, QUEUE_COORDINATOR_LEASE=LEASE_SECONDS)
    return queue("steps", worker=worker, handlers=handlers, scaling=SCALING)
