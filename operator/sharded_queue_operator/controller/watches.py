"""
News from Kubernetes: what kopf watches, and how its watches restart, whatever ends them.

The only decorator of kopf here is `on.event`, which writes nothing to the objects: the controller does the work, from a
queue of its own. The functions are async to stay on the event loop: kopf would run plain ones in another OS thread.
"""

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path
from time import monotonic
from typing import Any

import kopf

from sharded_queue_operator import metrics
from sharded_queue_operator.cluster.api import PAGE
from sharded_queue_operator.cluster.pods import watched_pods
from sharded_queue_operator.controller.controller import Controller
from sharded_queue_operator.controller.resync import Resync
from sharded_queue_operator.process import finished, install_signal_handlers
from sharded_queue_operator.resource.deployment import MANAGED_BY, MANAGER, QUEUE
from sharded_queue_operator.resource.spec import GROUP, PLURAL, VERSION
from sharded_queue_operator.settings import Settings

log = logging.getLogger(__name__)

KOPF = Path(kopf.__file__).parent

REQUEST_SECONDS = 15.0
BACKOFF_SECONDS = (0.5, 1.0, 2.0)
"""kopf gives up soon; then the watches restart, and lists take their place until they do."""

EXIT_SECONDS = 0.5
"""Our handlers only put names into a queue, so nothing is worth waiting for when the process ends."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
"""Before the watches restart; longer each time while they end at once."""

CANCELLATIONS, CANCELLED_SECONDS = 5, 0.5
"""How often a task of kopf is cancelled, and how long it may take to end each time."""


async def watch(controller: Controller, resync: Resync, settings: Settings, stop: asyncio.Event) -> None:
    """
    Report news to *controller* until *stop*. Whatever ends the watches, they restart; lists report what they missed.

    kopf stops for good on an answer that it does not expect, such as a conflict, or 410 to a watch that has just begun.
    """
    pause = FIRST_PAUSE_SECONDS
    while not stop.is_set():
        begun = monotonic()
        try:
            await _watch_once(controller, settings, stop)
        except Exception as error:
            pause = FIRST_PAUSE_SECONDS if monotonic() > begun + LONGEST_PAUSE_SECONDS else pause
            log.warning("the watches ended: %r; they restart in %.0f s", error, pause)
            metrics.watch_failures.inc()
            resync.hasten()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


async def _watch_once(controller: Controller, settings: Settings, stop: asyncio.Event) -> None:
    """Until one of kopf's tasks ends. Not by `race`: it cancels once, and waits for all to end."""
    tasks = await _kopf_tasks(controller, settings, stop)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await finished(end_kopf_tasks(tasks))  # the signal that ends kopf cancels us as well


async def _kopf_tasks(
    controller: Controller, settings: Settings, stop: asyncio.Event
) -> Collection["asyncio.Task[None]"]:
    """Not by `kopf.operator`: at its end, it would take all tasks of this loop for its own and wait for them."""
    tasks = await kopf.spawn_tasks(
        registry=_registered(controller),
        settings=_configured(),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        identity=settings.identity,  # type: ignore[arg-type]  # a str; kopf would look for the user's name
        stop_flag=stop,
    )
    install_signal_handlers(stop)  # kopf has just replaced ours
    return tasks


def _registered(controller: Controller) -> kopf.OperatorRegistry:
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


def _configured() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # the operator may not read all CRDs; ours exists before it starts
    settings.queueing.idle_timeout = settings.queueing.exit_timeout = EXIT_SECONDS
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.error_backoffs = BACKOFF_SECONDS
    settings.process.ultimate_exiting_timeout = None  # kopf may end and restart within this process
    settings.watching.chunk_size = PAGE  # its first list would be one page, whatever its length
    settings.watching.label_selectors["apps", "v1", "deployments"] = f"{MANAGED_BY}={MANAGER}"
    settings.watching.label_selectors["", "v1", "pods"] = watched_pods()
    return settings


async def end_kopf_tasks(started: Collection["asyncio.Task[None]"] = ()) -> None:
    """
    Cancel what *started* and all that it has begun, until it ends.

    A watcher that is cancelled while it ends a pause of its own takes that for the end of the pause, and goes on. The
    task that started the watcher waits for it, so this process would never end: both are cancelled again and again.
    """
    for _ in range(CANCELLATIONS):
        left = {task for task in started if not task.done()} | set(filter(_is_of_kopf, asyncio.all_tasks()))
        if not left:
            break
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=CANCELLED_SECONDS)
    if stuck := [task.get_name() for task in left if not task.done()]:
        log.error("kopf does not end %s", ", ".join(stuck))
    await asyncio.gather(*(task for task in started if task.done()), return_exceptions=True)  # their errors are known


def _is_of_kopf(task: "asyncio.Task[object]") -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and Path(code.co_filename).is_relative_to(KOPF)
