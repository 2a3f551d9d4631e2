"""`python -m sharded_queue_operator`: one process that leads, watches, decides and applies until it is told to stop."""

import asyncio
import gc
import logging
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import AsyncIterator, Awaitable, Collection
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from time import monotonic

import kopf
from kubernetes.aio.config import ConfigException

from sharded_queue import logs
from sharded_queue.errors import SettingsError
from sharded_queue.monitoring import http_server
from sharded_queue.monitoring.http_server import Check
from sharded_queue_operator import metrics
from sharded_queue_operator.cluster.api import Api, queues
from sharded_queue_operator.cluster.leader import Deposed, Leader
from sharded_queue_operator.controller.controller import Controller
from sharded_queue_operator.controller.watches import configured, registered
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.settings import Settings, read

log = logging.getLogger("sharded_queue_operator")

FIELDS = Settings.model_fields.items()
CRD_SECONDS = 2.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
"""Between two beginnings of the watches, while they end at once."""
CANCELLATIONS, CANCELLED_SECONDS = 5, 0.5
"""How often a task of kopf is cancelled, and how long it may take to end each time."""
KOPF = Path(kopf.__file__).parent

NESTED = 20_000
"""
How deep calls may go. The API server takes objects that are nested 10,000 deep, and what Python reads by default is
not a tenth of that: one such resource would end the watch, and the list, of all.
"""


def spare_collections() -> None:
    """
    Look for cycles seldom: with ten thousand pods, each look at all objects held the event loop for half a second, and
    objects of ours are in no cycles but for those of a traceback.
    """
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)


def main() -> None:
    told().parse_args()
    try:
        settings = read()
    except SettingsError as error:
        sys.exit(f"sharded-queue-operator: {error}")
    logs.configure(settings.log_level, settings.log_format)
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))
    sys.setrecursionlimit(NESTED)
    try:
        with suppress(asyncio.CancelledError, KeyboardInterrupt):
            spare_collections()
            asyncio.run(serve(settings))
    except (Deposed, ConfigException) as error:
        sys.exit(f"sharded-queue-operator: {explained(error)}")


def told() -> ArgumentParser:
    """What `--help` and `--version` say; there are no other arguments."""
    lines = [f"  OPERATOR_{name.upper():20} {field.get_default(call_default_factory=True)!r}" for name, field in FIELDS]
    parser = ArgumentParser(
        "sharded-queue-operator",
        description="Scales the workers of all ShardedQueue resources of a cluster: that of the pod it\n"
        "runs in, or that of your kubeconfig. It is configured by the environment and takes no options.",
        epilog="settings and their defaults:\n" + "\n".join(lines),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version("sharded-queue"))
    return parser


def explained(error: Exception) -> str:
    if isinstance(error, ConfigException):
        return f"found no cluster: neither a pod's service account nor a kubeconfig (KUBECONFIG): {error}"
    return str(error)


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; any failure that is not of one resource ends the process, to be started anew."""
    heed_signals(stop := asyncio.Event())
    api = await Api.connected(settings.api_seconds)
    controller = Controller(api, settings)
    try:
        async with http_server.serving(
            settings.http_port,
            setting="OPERATOR_HTTP_PORT",
            livez=livez(controller, settings),
            readyz=readyz(controller),
            metrics=metrics.exposition,
            content_type=metrics.CONTENT_TYPE,
        ) as port:
            log.info("serving /livez, /readyz and /metrics on port %s", port)
            await first_of(stop.wait(), lead(api, controller, settings, stop))
    finally:
        await api.close()


async def lead(api: Api, controller: Controller, settings: Settings, stop: asyncio.Event) -> None:
    await served(api, settings)
    async with leading(api, settings) as keep:
        await first_of(watch(controller, settings, stop), controller.run(), keep)


async def watch(controller: Controller, settings: Settings, stop: asyncio.Event) -> None:
    """
    Hear the news until *stop*. Whatever ends the watches, they begin anew, and lists tell what was missed.

    kopf gives up for good on an answer that it does not expect, as a conflict or a watch that is gone as it begins.
    """
    pause = FIRST_PAUSE_SECONDS
    while not stop.is_set():
        begun = monotonic()
        try:
            await watch_once(controller, settings, stop)
        except Exception as error:
            pause = FIRST_PAUSE_SECONDS if monotonic() > begun + LONGEST_PAUSE_SECONDS else pause
            log.warning("the watches ended: %r; they begin anew in %.0f s", error, pause)
            metrics.watch_failures.inc()
            controller.watches_ended()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


async def watch_once(controller: Controller, settings: Settings, stop: asyncio.Event) -> None:
    try:
        await first_of(*await watches(controller, settings, stop))
    finally:
        await kopf_ended()


async def kopf_ended() -> None:
    """
    End what kopf leaves behind: watchers whose first cancellation it takes for a pause of its own, and which would
    outlive the watches and keep this process from ending.
    """
    for _ in range(CANCELLATIONS):
        left = [task for task in asyncio.all_tasks() if is_of_kopf(task)]
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=CANCELLED_SECONDS)
    log.error("kopf does not end %s", ", ".join(task.get_name() for task in left))


def is_of_kopf(task: "asyncio.Task[object]") -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and Path(code.co_filename).is_relative_to(KOPF)


async def watches(controller: Controller, settings: Settings, stop: asyncio.Event) -> Collection["asyncio.Task[None]"]:
    """What kopf runs; `kopf.operator` would take all tasks of this loop for its own at the end, and wait for them."""
    tasks = await kopf.spawn_tasks(
        registry=registered(controller),
        settings=configured(),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        identity=settings.identity,  # type: ignore[arg-type]  # a str; kopf would look for the user's name
        stop_flag=stop,
    )
    heed_signals(stop)  # kopf has just taken them
    return tasks


async def served(api: Api, settings: Settings) -> None:
    """Wait until the API server knows our kind: whoever installs us may do it in any order."""
    while True:
        try:
            await api.get(queues(namespace=next(iter(settings.namespaces), "")), limit="1")
            return
        except ApiRefused as error:
            log.warning("ShardedQueues cannot be listed yet: %s", error)
        await asyncio.sleep(CRD_SECONDS)


@asynccontextmanager
async def leading(api: Api, settings: Settings) -> AsyncIterator["asyncio.Future[None]"]:
    if not settings.lease_namespace:
        metrics.leading.set(1)
        yield asyncio.get_running_loop().create_future()
        return
    name = Name(settings.lease_namespace, settings.lease_name)
    leader = Leader(api, name, settings.identity, settings.lease_seconds)
    await leader.acquire()
    keep = asyncio.create_task(leader.keep())
    try:
        yield keep
    finally:
        keep.cancel()
        await leader.resign()


async def first_of(*works: Awaitable[object]) -> None:
    """Run all until one ends; then the others are cancelled, and an error goes on."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def heed_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


def livez(controller: Controller, settings: Settings) -> Check:
    async def check() -> str:
        idle = monotonic() - controller.progress_at
        return f"no progress for {idle:.0f} s" if idle > settings.stuck_seconds else ""

    return check


def readyz(controller: Controller) -> Check:
    async def check() -> str:
        return "" if controller.is_running else "waiting for the Lease"

    return check


if __name__ == "__main__":
    main()
