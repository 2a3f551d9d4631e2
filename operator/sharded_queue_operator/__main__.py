"""`python -m sharded_queue_operator`: one process that leads, watches, decides and applies until SIGTERM or SIGINT."""

import asyncio
import gc
import logging
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from textwrap import fill, indent

from kubernetes.aio.config import ConfigException

from sharded_queue import logs
from sharded_queue.errors import SettingsError
from sharded_queue.monitoring import http_server
from sharded_queue.monitoring.http_server import Check
from sharded_queue.release import release
from sharded_queue_operator import metrics
from sharded_queue_operator.cluster.api import Api, queues
from sharded_queue_operator.cluster.leader import Deposed, Leader
from sharded_queue_operator.controller.controller import Controller
from sharded_queue_operator.controller.resync import Resync
from sharded_queue_operator.controller.watches import watch
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.process import install_signal_handlers, race
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.settings import PREFIX, Settings, read

log = logging.getLogger("sharded_queue_operator")

HELP_COLUMNS = 74
CRD_SECONDS = 2.0
"""Between two looks whether the CRD is installed."""

NESTED = 20_000
"""
Python's recursion limit. The API server accepts objects that are nested 10,000 deep, ten times what Python reads by
default: one such resource would end the watch and the list of all resources.
"""


def main() -> None:
    _parser().parse_args()
    try:
        settings = read()
    except SettingsError as error:
        sys.exit(f"sharded-queue-operator: {error}")
    logs.configure(settings.log_level, settings.log_format)
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))
    sys.setrecursionlimit(NESTED)
    try:
        with suppress(asyncio.CancelledError, KeyboardInterrupt):
            _collect_garbage_seldom()
            asyncio.run(_serve(settings))
    except (Deposed, ConfigException) as error:
        sys.exit(f"sharded-queue-operator: {_explained(error)}")


def _parser() -> ArgumentParser:
    """The only arguments are `--help` and `--version`."""
    arguments = ArgumentParser(
        "sharded-queue-operator",
        description="Scales the workers of every ShardedQueue in a cluster: the cluster it runs in,\n"
        "or else the one that your kubeconfig names. It takes no options: its settings are\n"
        "environment variables.",
        epilog="settings, with their defaults:\n" + "\n".join(map(_setting_help, Settings.model_fields)),
        formatter_class=RawDescriptionHelpFormatter,
    )
    arguments.add_argument("--version", action="version", version=release())
    return arguments


def _setting_help(name: str) -> str:
    field = Settings.model_fields[name]
    default = field.get_default(call_default_factory=True)
    value = ",".join(default) if isinstance(default, tuple) else default
    return f"  {PREFIX}{name.upper()}={value}\n{indent(fill(field.description or '', HELP_COLUMNS), '      ')}"


def _collect_garbage_seldom() -> None:
    """
    With ten thousand pods, each full collection held the event loop for half a second. It finds little: our objects are
    in no cycles but those of a traceback.
    """
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)


def _explained(error: Exception) -> str:
    if isinstance(error, ConfigException):
        return f"found no cluster: neither a pod's service account nor a kubeconfig (KUBECONFIG): {error}"
    return str(error)


async def _serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. A failure beyond one resource ends the process, for its supervisor to restart."""
    install_signal_handlers(stop := asyncio.Event())
    api = await Api.connected(settings.api_seconds)
    controller = Controller(api, settings)
    try:
        async with http_server.serving(
            settings.http_port,
            setting="OPERATOR_HTTP_PORT",
            livez=_livez(controller, settings),
            readyz=_readyz(controller),
            metrics=metrics.exposition,
            content_type=metrics.CONTENT_TYPE,
        ) as port:
            log.info("serving /livez, /readyz and /metrics on port %s", port)
            await race(stop.wait(), _lead(api, controller, settings, stop))
    finally:
        await api.close()


async def _lead(api: Api, controller: Controller, settings: Settings, stop: asyncio.Event) -> None:
    await _crd_installed(api, settings)
    async with _leadership(api, settings) as lost:
        resync = Resync(api, controller, settings)
        await race(watch(controller, resync, settings, stop), controller.run(), resync.run(), lost)


async def _crd_installed(api: Api, settings: Settings) -> None:
    """Return when the API server knows ShardedQueues: the CRD may be installed after the operator."""
    while True:
        try:
            await api.get(queues(namespace=next(iter(settings.namespaces), "")), limit="1")
            return
        except ApiRefused as error:
            log.warning("ShardedQueues cannot be listed yet: %s", error)
        await asyncio.sleep(CRD_SECONDS)


@asynccontextmanager
async def _leadership(api: Api, settings: Settings) -> AsyncIterator["asyncio.Future[None]"]:
    """Lead while the body runs. The future ends when another operator may lead; without an election it never ends."""
    if not settings.lease_namespace:
        metrics.leading.set(1)
        yield asyncio.get_running_loop().create_future()
        return
    name = Name(settings.lease_namespace, settings.lease_name)
    leader = Leader(api, name, settings.identity, settings.lease_seconds)
    await leader.acquire()
    lost = asyncio.create_task(leader.keep())
    try:
        yield lost
    finally:
        lost.cancel()
        await leader.resign()


def _livez(controller: Controller, settings: Settings) -> Check:
    async def check() -> str:
        idle = controller.idle_seconds()
        return f"no progress for {idle:.0f} s" if idle > settings.stuck_seconds else ""

    return check


def _readyz(controller: Controller) -> Check:
    async def check() -> str:
        return "" if controller.is_running else "waiting for the Lease"

    return check


if __name__ == "__main__":
    main()
