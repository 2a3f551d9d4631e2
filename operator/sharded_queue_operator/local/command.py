"""
`sharded-queue run FILE`: a ShardedQueue on this machine, observed and decided as by the operator in a cluster.

Worker processes take the place of pods. Here is what a session needs around it: its Redis, its storage, its logs.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import click
from msgspec.structs import replace

from sharded_queue.backends.redis.client import RedisOptions, close, connect
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.settings import settings
from sharded_queue_operator.local.local_redis import LocalRedis
from sharded_queue_operator.local.session import LocalSession, RunOptions
from sharded_queue_operator.resource.file import read
from sharded_queue_operator.resource.spec import Redis, Resource

SECRET = "environment"  # noqa: S105 - the name of a Secret that stands for the environment


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--redis", "address", metavar="HOST:PORT", help="Use this Redis instead of starting one.")
@click.option("--produce", metavar="COMMAND", help="Start this command to register requests, not the file's producer.")
@click.option("--no-produce", is_flag=True, help="Start no producer: handle requests registered by other processes.")
@click.option("--until-drained/--forever", "ends", default=True, help="End when no requests wait, or on Ctrl-C only.")
@click.option(
    "--logs", type=click.Path(path_type=Path, file_okay=False), help="Keep the output of all processes in this folder."
)
def run(file: Path, address: str | None, produce: str | None, no_produce: bool, ends: bool, logs: Path | None) -> None:
    """
    Run a ShardedQueue on this machine.

    FILE is the manifest that you would apply to a cluster. Worker processes take the place of pods, and the operator's
    own decision scales them. Ctrl-C lets the workers finish what they have begun.
    """
    resource, producer = read(file)
    options = RunOptions(address, None if no_produce else produce or producer, not ends, logs)
    sys.exit(asyncio.run(_run_session(resource, file.resolve().parent, options)))


async def _run_session(resource: Resource, folder: Path, options: RunOptions) -> int:
    """Set up what a session needs, run it, and take everything away again; the exit code."""
    async with AsyncExitStack() as stack:
        logs = options.logs or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sharded-queue-run-")))
        logs.mkdir(parents=True, exist_ok=True)
        own = None if options.address else await stack.enter_async_context(_local_redis(logs))
        resource = _on_this_machine(resource, own.address if own else str(options.address))
        storage = await stack.enter_async_context(_storage(resource))
        session = LocalSession(resource, storage, folder, logs, options)
        if own:
            session.end_with(own.ended)
        return await session.run()


@asynccontextmanager
async def _local_redis(folder: Path) -> AsyncIterator[LocalRedis]:
    redis = LocalRedis(folder)
    try:
        await redis.start()
        yield redis
    finally:
        await redis.stop()


@asynccontextmanager
async def _storage(resource: Resource) -> AsyncIterator[RedisStorage]:
    """The credentials are those of the environment; the Redis is the resource's."""
    redis, secret = resource.spec.redis, settings.redis_password
    password = secret.get_secret_value() if secret else None
    client = connect(RedisOptions(addresses=redis.addresses, username=settings.redis_username, password=password))
    try:
        yield RedisStorage(client, keys=redis.keys)
    finally:
        await close(client)


def _on_this_machine(resource: Resource, address: str) -> Resource:
    """The same resource with a Redis at *address*, whose password, if any, is in the environment."""
    here = Redis(
        addresses=(address,),
        key_prefix=resource.spec.redis.key_prefix,
        auth_secret_name=SECRET if settings.redis_password else None,
    )
    return resource._replace(spec=replace(resource.spec, redis=here))
