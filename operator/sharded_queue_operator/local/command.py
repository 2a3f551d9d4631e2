"""
`sharded-queue run FILE`: a ShardedQueue on this machine, observed and decided as the operator does it in a cluster.

What differs is what carries a decision out: worker processes take the place of pods.
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
from sharded_queue_operator.local.processes import LocalRedis
from sharded_queue_operator.local.session import Run, Wishes
from sharded_queue_operator.resource.file import read
from sharded_queue_operator.resource.spec import Redis, Resource

SECRET = "environment"  # noqa: S105 - the name of one


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--redis", "address", metavar="HOST:PORT", help="Use this Redis instead of starting one.")
@click.option("--produce", metavar="COMMAND", help="Start this to register requests, in place of the file's producer.")
@click.option("--no-produce", is_flag=True, help="Start no producer: handle what is registered from elsewhere.")
@click.option("--until-drained/--forever", "ends", default=True, help="End when nothing waits any more, or never.")
@click.option(
    "--logs", type=click.Path(path_type=Path, file_okay=False), help="Keep what processes say in this folder."
)
def run(file: Path, address: str | None, produce: str | None, no_produce: bool, ends: bool, logs: Path | None) -> None:
    """
    Run a ShardedQueue on this machine.

    FILE is what a cluster would get. Worker processes take the place of pods, scaled by the decision of the operator.
    Ctrl-C lets them finish what they have begun.
    """
    resource, producer = read(file)
    wishes = Wishes(address, None if no_produce else produce or producer, not ends, logs)
    sys.exit(asyncio.run(conducted(resource, file.resolve().parent, wishes)))


async def conducted(resource: Resource, place: Path, wishes: Wishes) -> int:
    """Set up what a run needs, run, and take it all away again; the exit code."""
    async with AsyncExitStack() as stack:
        logs = wishes.logs or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sharded-queue-run-")))
        logs.mkdir(parents=True, exist_ok=True)
        own = None if wishes.address else await stack.enter_async_context(served(logs))
        resource = on_this_machine(resource, own.address if own else str(wishes.address))
        storage = await stack.enter_async_context(opened(resource))
        run = Run(resource, storage, place, logs, wishes)
        if own:
            run.watch(own.ended)
        return await run.conduct()


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[LocalRedis]:
    redis = LocalRedis(folder)
    try:
        await redis.start()
        yield redis
    finally:
        await redis.stop()


@asynccontextmanager
async def opened(resource: Resource) -> AsyncIterator[RedisStorage]:
    redis = resource.spec.redis
    client = connect(replace_address(RedisOptions.from_settings(), redis.addresses))
    try:
        yield RedisStorage(client, keys=redis.keys)
    finally:
        await close(client)


def replace_address(options: RedisOptions, addresses: tuple[str, ...]) -> RedisOptions:
    """Credentials of the environment, for the Redis that was named."""
    return RedisOptions(addresses=addresses, username=options.username, password=options.password)


def on_this_machine(resource: Resource, address: str) -> Resource:
    """The same resource with a Redis that is here; its password, if it has one, is in the environment."""
    here = Redis(
        addresses=(address,),
        key_prefix=resource.spec.redis.key_prefix,
        auth_secret_name=SECRET if settings.redis_password else None,
    )
    return resource._replace(spec=replace(resource.spec, redis=here))
