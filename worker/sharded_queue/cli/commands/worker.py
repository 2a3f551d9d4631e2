"""`sharded-queue worker`: the process that runs in a worker pod."""

import asyncio
import gc
import logging
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from importlib import import_module
from typing import NoReturn, cast

import click

from sharded_queue import context, logs
from sharded_queue.admin.handlers import handlers_in
from sharded_queue.backends.redis.client import RedisOptions, close, connect
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.backends.redis.scripts import is_transient
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import BadInput
from sharded_queue.cli.hooks import Hooks, hooks_in, mistyped_hooks
from sharded_queue.errors import ShardedQueueError, StorageUnavailable, UnreadableData
from sharded_queue.handler import Handler, misspelt_in
from sharded_queue.monitoring import http_server
from sharded_queue.monitoring.health import Health, Stage
from sharded_queue.predecessor import hint
from sharded_queue.printable import counted
from sharded_queue.queue.queue import Queue
from sharded_queue.settings import FIELDS, mistyped, settings
from sharded_queue.signals import heeded, terminate_with
from sharded_queue.tube import Shard
from sharded_queue.worker.loop import Worker

log = logging.getLogger("sharded_queue")
CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
"""Of `/metrics`, as prometheus_client has it, which is imported with the first scrape."""


@click.command(short_help="Serve the handlers that modules define.")
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...")
@click.option(
    "--log-level",
    type=click.Choice(FIELDS["log_level"].choices, case_sensitive=False),
    help="The lowest level to log.  [default: QUEUE_LOG_LEVEL, or INFO]",
)
@click.option(
    "--log-format",
    type=click.Choice(FIELDS["log_format"].choices, case_sensitive=False),
    help="Each entry as a line of text or a JSON object.  [default: QUEUE_LOG_FORMAT, or text]",
)
@click.option("--reload", is_flag=True, help="While developing: start again, drained, when a Python file changes.")
@click.option("--strict", is_flag=True, help="Refuse names that have no effect because they are misspelt.")
@click.option("--stop-with", type=int, hidden=True, help="The pipe that ends with the process that runs this worker.")
def worker(
    modules: tuple[str, ...],
    log_level: str | None,
    log_format: str | None,
    stop_with: int | None,
    *,
    reload: bool,
    strict: bool,
) -> None:
    """
    Serve the handlers that MODULES define or import, or those of them that QUEUE_WORKER_HANDLERS names.

    On SIGTERM or SIGINT, take nothing new, finish and settle the running batches, release the threads, exit 0. A second
    signal aborts the running batches.

    A module may have a list worker_middleware, and an async context manager worker_lifespan, which is entered before
    the first thread is bound.
    """
    # The first process of a container ignores signals without a handler, and importing may take seconds.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if stop_with is not None:
        terminate_with(stop_with)
    level, form = log_level or settings.log_level, log_format or settings.log_format
    logs.configure(level, form)
    if reload:
        serve_and_reload([*modules, "--log-level", level, "--log-format", form, *["--strict"][: int(strict)]])
    doubts = list(mistyped())
    handlers = handlers_in(modules, settings.worker_handlers)
    doubts += mistyped_hooks(modules)
    for sentence in doubts:
        log.warning("%s", sentence)
    if strict:
        refuse_misspelt([*doubts, *misspelt_in(handlers)])
    asyncio.run(serve(handlers, hooks_in(modules)))


def refuse_misspelt(sentences: Sequence[str]) -> None:
    """
    Raises:
        BadInput: there are any.
    """
    if sentences:
        raise BadInput("; ".join(sentences))


def serve_and_reload(words: Sequence[str]) -> NoReturn:
    """
    Raises:
        ClickException: the extra `reload` is not installed.
    """
    from sharded_queue.cli import reload  # noqa: PLC0415 - what it needs is not installed in production

    sys.exit(reload.serve(words))


async def serve(handlers: Sequence[type[Handler]], hooks: Hooks) -> None:
    client = connect()
    storage = RedisStorage(client)
    queue = Queue(storage, middleware=hooks.middleware)
    worker = Worker(RedisCoordinator(client), queue, handlers=handlers, lifespan=hooks.lifespan)
    context.worker.set(worker.owner)
    shards = [shard for handler in handlers for shard in handler.all_shards()]
    state = Health(worker, shards)
    with stopped_by_signals(worker, state) as stopped:
        try:
            async with serving_http(worker, shards, state) as port:
                log.info("/metrics, /livez and /readyz on port %d", port)
                if await reached(storage, shards, stopped):
                    async with hinting(storage, handlers):
                        await work(worker, handlers, state)
        finally:
            await close(client)


@asynccontextmanager
async def serving_http(worker: Worker, shards: Sequence[Shard], state: Health) -> AsyncIterator[int]:
    """Serve on the port of the settings; on any free one, if the port is taken and was not set explicitly."""
    async with AsyncExitStack() as stack:
        try:
            port = await stack.enter_async_context(http_on(settings.metrics_port, worker, shards, state))
        except ShardedQueueError:
            if "metrics_port" in settings.given:
                raise
            port = await stack.enter_async_context(http_on(0, worker, shards, state))
            log.info(
                "port %d is taken, so a free one is used; set QUEUE_METRICS_PORT to choose one", settings.metrics_port
            )
        yield port


def http_on(port: int, worker: Worker, shards: Sequence[Shard], state: Health) -> AbstractAsyncContextManager[int]:
    return http_server.serving(
        port,
        setting="QUEUE_METRICS_PORT",
        livez=state.livez,
        readyz=state.readyz,
        metrics=lambda: exposition(worker, shards),
        content_type=CONTENT_TYPE,
    )


async def exposition(worker: Worker, shards: Sequence[Shard]) -> bytes:
    """Imports what it needs in an OS thread, while handlers go on: a worker starts while its first request waits."""
    module = await asyncio.to_thread(import_module, "sharded_queue.monitoring.metrics")
    return cast("bytes", await module.exposition(worker, shards))


@asynccontextmanager
async def hinting(storage: RedisStorage, handlers: Sequence[type[Handler]]) -> AsyncIterator[None]:
    """Warn of requests that the predecessor left, a while after the worker has looked for its first threads."""
    task = asyncio.create_task(_hint(storage, handlers))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _hint(storage: RedisStorage, handlers: Sequence[type[Handler]]) -> None:
    await asyncio.sleep(settings.coordinator_delay)
    if sentence := await hint(storage, handlers, looks=1):
        log.warning("%s", sentence)


async def work(worker: Worker, handlers: Sequence[type[Handler]], state: Health) -> None:
    names = ", ".join(handler.name for handler in handlers)
    log.info("serving %s, %s at a time", names, counted(settings.worker_concurrency, "thread"))
    state.enter(Stage.SERVING)
    gc.freeze()  # the user's modules stay as well: no garbage collection need look through them
    handled = await worker.loop()
    log.info("stopped after %s", counted(handled, "request"))


@contextmanager
def stopped_by_signals(worker: Worker, state: Health) -> Iterator[asyncio.Event]:
    """Handle signals as `Worker.run` does, also before the worker runs. The first signal sets the event."""
    stopped = asyncio.Event()

    def received(name: str) -> None:
        state.enter(Stage.STOPPING)
        worker.heed(name)
        stopped.set()

    with heeded(received):
        yield stopped


async def reached(storage: RedisStorage, shards: Sequence[Shard], stopped: asyncio.Event) -> bool:
    """Wait for the first answer of Redis; False if a signal came first."""
    asking, stopping = asyncio.create_task(answered(storage, shards)), asyncio.create_task(stopped.wait())
    await asyncio.wait([asking, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if asking.done():
        asking.result()
        return True
    asking.cancel()
    return False


async def answered(storage: RedisStorage, shards: Sequence[Shard]) -> None:
    where, is_silent = ",".join(RedisOptions.from_settings().addresses), False
    while True:
        try:
            await storage.observe(shards[:1], 0)
            break
        except UnreadableData as error:
            log.warning("Redis at %s: %s", where, error)
            break
        except StorageUnavailable as error:
            refuse_for_good(where, error)
            if not is_silent:
                log.warning("Redis at %s: %s; retrying", where, str(error).rstrip("."))
            is_silent = True
        await asyncio.sleep(settings.coordinator_delay)
    if is_silent:
        log.info("Redis at %s answers", where)


def refuse_for_good(where: str, error: StorageUnavailable) -> None:
    """
    Exit on an error that retries do not cure: refused credentials, or a certificate that is not trusted. Whoever
    started this process must learn of it.
    """
    cause = error.__cause__
    is_untrusted = cause is not None and isinstance(cause.__cause__, ssl.SSLCertVerificationError)
    if is_untrusted or (isinstance(cause, Exception) and not is_transient(cause)):
        raise StorageUnavailable(f"Redis at {where}: {error}") from error
