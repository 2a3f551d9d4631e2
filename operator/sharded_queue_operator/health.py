"""
What the operator says over HTTP about itself: metrics, whether it lives, whether it serves.

`/livez` is tied to the work: it fails when no resource was looked at and no list was read for too long.
"""

from contextlib import AbstractAsyncContextManager

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sharded_queue.monitoring import http_server
from sharded_queue.monitoring.http_server import Check
from sharded_queue_operator import metrics


def served(port: int, *, livez: Check, readyz: Check) -> AbstractAsyncContextManager[int]:
    """Serve while the body runs; gives the port, which matters when 0 was asked for."""
    return http_server.serving(
        port,
        setting="OPERATOR_HTTP_PORT",
        livez=livez,
        readyz=readyz,
        metrics=measured,
        content_type=CONTENT_TYPE_LATEST,
    )


async def measured() -> bytes:
    return generate_latest(metrics.registry)
