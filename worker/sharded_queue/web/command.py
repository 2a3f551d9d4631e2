"""`sharded-queue web`: serve the console."""

import asyncio
import logging
import socket

import click
import uvicorn

from sharded_queue import logs
from sharded_queue.backends.redis.client import close, connect
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import NAME, BadInput, module_options, named
from sharded_queue.settings import settings
from sharded_queue.web.app import Console, Options
from sharded_queue.web.headers import LOOPBACK

log = logging.getLogger("sharded_queue.web")


@click.command(short_help="Serve a page in a browser that shows every thread.")
@click.argument("handlers", type=NAME, nargs=-1, metavar="[HANDLER]...")
@module_options
@click.option("--address", default="127.0.0.1", show_default=True, help="The address of this machine to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8090, show_default=True, help="The port; 0 for a free one."
)
@click.option("--host-name", "hosts", multiple=True, help="A host name that browsers reach it by, beside localhost.")
@click.option("--hide-bodies", is_flag=True, help="Show no request, header or traceback.")
def web(
    handlers: tuple[str, ...],
    modules: tuple[str, ...],
    spread: int | None,
    address: str,
    port: int,
    hosts: tuple[str, ...],
    hide_bodies: bool,
) -> None:
    """
    Serve a page in a browser that shows every thread: what waits, for how long, and why.

    Shows the HANDLERs, those of each --module, or all that Redis has, found by a scan of its keys.
    """
    logs.configure(settings.log_level, settings.log_format)
    chosen = named(handlers, modules, spread) if handlers or modules else []
    options = Options(chosen, (*LOOPBACK, *(host.lower() for host in hosts)), hide_bodies)
    asyncio.run(serve(listening(address, port), options))


def listening(address: str, port: int) -> socket.socket:
    """
    Raises:
        BadInput: nothing can listen there.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        raise BadInput(
            f"cannot listen on {address} port {port}: {error.strerror}; use --port for another one"
        ) from error
    return bound


async def serve(bound: socket.socket, options: Options) -> None:
    client = connect()
    try:
        console = Console(RedisStorage(client), options)
        server = uvicorn.Server(
            uvicorn.Config(
                console.application(),
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=2,
            )
        )
        log.info("the console is at %s", url_of(bound))
        await server.serve(sockets=[bound])
    finally:
        await close(client)


def url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/"
