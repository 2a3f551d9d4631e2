"""
What the operator hears from Kubernetes: a table of contents.

Only `on.event`, which writes nothing to the objects; work is done elsewhere, from a queue of our own. The functions are
async to stay on the event loop: kopf gives plain ones to another OS thread.
"""

from typing import Any

import kopf

from sharded_queue_operator.cluster.api import PAGE
from sharded_queue_operator.cluster.pods import watched_pods
from sharded_queue_operator.controller.controller import Controller
from sharded_queue_operator.resource.deployment import MANAGED_BY, MANAGER, QUEUE
from sharded_queue_operator.resource.spec import GROUP, PLURAL, VERSION

REQUEST_SECONDS = 15.0
BACKOFF_SECONDS = (0.5, 1.0, 2.0)
"""Soon given up: then the watches begin anew, and lists are read in their place."""

EXIT_SECONDS = 0.5
"""Our handlers only put names into a queue, so nothing is worth waiting for when the process is to end."""


def registered(controller: Controller) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**context: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(**context)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def resource(event: kopf.RawEvent, **_: Any) -> None:
        body = dict(event["object"])
        controller.resource_gone(body) if event["type"] == "DELETED" else controller.resource_changed(body)

    @kopf.on.event("apps", "v1", "deployments", labels={MANAGED_BY: MANAGER}, registry=registry)
    async def workload(event: kopf.RawEvent, **_: Any) -> None:
        body = dict(event["object"])
        controller.workload_gone(body) if event["type"] == "DELETED" else controller.workload_changed(body)

    @kopf.on.event("", "v1", "pods", labels={QUEUE: kopf.PRESENT}, registry=registry)
    async def pod(event: kopf.RawEvent, **_: Any) -> None:
        body = dict(event["object"])
        controller.pod_gone(body) if event["type"] == "DELETED" else controller.pod_changed(body)

    return registry


def configured() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # no right to read all CRDs: ours is there before we are
    settings.queueing.idle_timeout = settings.queueing.exit_timeout = EXIT_SECONDS
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.error_backoffs = BACKOFF_SECONDS
    settings.process.ultimate_exiting_timeout = None  # kopf may end and begin anew; this process lives on
    settings.watching.chunk_size = PAGE  # its first list would be one page, whatever its length
    settings.watching.label_selectors["apps", "v1", "deployments"] = f"{MANAGED_BY}={MANAGER}"
    settings.watching.label_selectors["", "v1", "pods"] = watched_pods()
    return settings
