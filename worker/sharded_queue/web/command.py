"""`sharded-queue web`: serve the console."""

import asyncio
import logging
import socket
import sys
from contextlib import suppress
from functools import partial
from importlib.metadata import entry_points
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import click

from sharded_queue import logs
from sharded_queue.admin.handlers import import_all, named
from sharded_queue.backends.redis.bounded_parser import bind_parser
from sharded_queue.backends.redis.client import close, connect
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.errors import NotPossible
from sharded_queue.options import NAME, module_options
from sharded_queue.printable import printable
from sharded_queue.settings import settings
from sharded_queue.web.app import PATHS, Console, Options
from sharded_queue.web.audit import Audit
from sharded_queue.web.headers import LOOPBACK
from sharded_queue.web.host import Host
from sharded_queue.web.one_time_link import FIELD, LINK_SECONDS
from sharded_queue.web.people import ROLES, People, Role, RoleOf, UserFile, digest_of
from sharded_queue.web.proxies import Proxies
from sharded_queue.web.server import server_of

log = logging.getLogger("sharded_queue.web")

ADDED = "sharded_queue.pages"
"""The entry-point group of pages of other packages."""
FILE = click.Path(dir_okay=False, path_type=Path)


def hash_secret(context: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    """What a file of users has in place of a secret."""
    if is_wanted and not context.resilient_parsing:
        secret = click.prompt("Secret", hide_input=True, err=True)
        click.echo(digest_of(secret))
        context.exit()


@click.command(short_help="Serve a page in a browser that shows every thread.")
@click.argument("handlers", type=NAME, nargs=-1, metavar="[HANDLER]...")
@module_options
@click.option("--address", default="127.0.0.1", show_default=True, help="The address of this machine to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8090, show_default=True, help="The port; 0 for a free one."
)
@click.option("--host-name", "hosts", multiple=True, help="A host name that browsers reach it by, beside localhost.")
@click.option("--hide-bodies", is_flag=True, help="Show no request, header or traceback.")
@click.option(
    "--allow-actions",
    is_flag=True,
    help="Let people act, as their roles allow. Without --users or a proxy: who opens the link that it prints.",
)
@click.option("--users", type=FILE, help="A file with NAME ROLE HASH in each line: who may sign in.")
@click.option("--trusted-proxy-header", "header", metavar="NAME", help="The header in which a proxy names the person.")
@click.option(
    "--trusted-proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="An address or a network whose headers are believed, such as 127.0.0.1 or 10.0.0.0/8.",
)
@click.option(
    "--default-role",
    type=click.Choice([*ROLES, "none"]),
    default="viewer",
    show_default=True,
    help="The role of a person whom the proxy names and the file does not.",
)
@click.option("--role-of", metavar="MODULE:NAME", help="A function of yours: from a person's name to a role, or None.")
@click.option(
    "--page",
    "added",
    multiple=True,
    metavar="NAME[=TEXT]",
    help="Show a page of another package, too. The operator's is shardedqueues, or shardedqueues=NAMESPACE,…",
)
@click.option("--audit-log", type=FILE, help="Append a line for each action to this file.  [default: standard output]")
@click.option(
    "--hash-secret",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=hash_secret,
    help="Ask for a secret, print its hash for the file of users, and exit.",
)
def web(
    handlers: tuple[str, ...],
    modules: tuple[str, ...],
    spread: int | None,
    address: str,
    port: int,
    hosts: tuple[str, ...],
    hide_bodies: bool,
    allow_actions: bool,
    users: Path | None,
    header: str | None,
    proxies: tuple[str, ...],
    default_role: str,
    role_of: str | None,
    added: tuple[str, ...],
    audit_log: Path | None,
) -> None:
    """
    Serve a page in a browser that shows every thread: what waits, for how long, and why.

    Shows the HANDLERs, those of each --module, or all that Redis has, found by a scan of its keys.
    """
    logs.configure(settings.log_level, settings.log_format)
    chosen = named(handlers, modules, spread) if handlers or modules else []
    default: Role | None = None if default_role == "none" else default_role  # type: ignore[assignment]  # a choice
    people = People(UserFile(users) if users else None, header, function(role_of) if role_of else None, default)
    if allow_actions and not people.are_known and not is_loopback(address):
        raise NotPossible(
            f"--allow-actions on {address} would let everybody act: say who acts with --users FILE or "
            "--trusted-proxy-header NAME, or listen on 127.0.0.1"
        )
    trusted = Proxies(*proxies)
    if header and not proxies:
        raise NotPossible(
            f"--trusted-proxy-header {header} is believed from nobody yet: add --trusted-proxy ADDRESS, "
            "the address or the network of the proxy"
        )
    options = Options(
        chosen=chosen,
        hosts=(*LOOPBACK, *(host.lower() for host in hosts)),
        hide_bodies=hide_bodies,
        allow_actions=allow_actions,
        people=people,
        proxies=trusted,
        audit=Audit(audit_log),
        added=[host_of(word) for word in added],
    )
    warn(address, options)
    asyncio.run(serve(listening(address, port), options))


def warn(address: str, options: Options) -> None:
    """Who can look, where that is more than somebody may have meant."""
    if not options.people.are_known and not is_loopback(address):
        log.warning(
            "whoever reaches %s sees everything: say who may look with --users FILE or --trusted-proxy-header NAME, "
            "or limit who reaches it",
            address,
        )
    if options.people.header and options.proxies.are_everybody:
        log.warning(
            "whoever reaches %s is the person that the header %s names: limit who reaches it, or name the proxy "
            "with --trusted-proxy",
            address,
            options.people.header,
        )


def host_of(word: str) -> Host:
    """
    The host of the page that *word*, `NAME` or `NAME=TEXT`, asks for.

    Raises:
        NotPossible: no package names such a page.
    """
    name, _, text = word.partition("=")
    points = [point for point in entry_points(group=ADDED) if point.name not in PATHS]
    found = next((point for point in points if point.name == name), None)
    if found is None:
        names = ", ".join(sorted({point.name for point in points})) or "none"
        raise NotPossible(f"--page {printable(name, 100)}: no package adds a page of this name; there are: {names}")
    return Host(found, text)


def is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def function(path: str) -> RoleOf:
    """
    The user's own function `MODULE:NAME`.

    Raises:
        NotPossible: there is none.
    """
    module, _, name = path.partition(":")
    import_all([module])
    found = getattr(sys.modules[module], name, None)
    if not callable(found):
        raise NotPossible(f"--role-of {printable(path)}: the module {module!r} has no function {name!r}")
    return cast("RoleOf", found)


def listening(address: str, port: int) -> socket.socket:
    """
    Raises:
        NotPossible: nothing can listen there.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address, port))
        bound.listen()  # who comes before the console is ready waits for it
    except OSError as error:
        bound.close()
        raise NotPossible(
            f"cannot listen on {address} port {port}: {error.strerror}; use --port for another one"
        ) from error
    return bound


async def serve(bound: socket.socket, options: Options) -> None:
    client = connect()
    bind_parser(client)
    try:
        console = Console(RedisStorage(client), options, partial(print_link, url_of(bound)))
        server = server_of(console.application(), lifespan="on", timeout_graceful_shutdown=2)
        log.info("the console is at %s", url_of(bound))
        await server.serve(sockets=[bound])
    finally:
        await close(client)


def print_link(url: str, token: str) -> None:
    """On a line of its own, which a terminal of 80 columns does not wrap; not in the log, which others may read."""
    with suppress(OSError):
        click.echo(
            f"\nTo look and act, open this link. It works once, within {LINK_SECONDS // 60} minutes:\n\n"
            f"    {url}?{FIELD}={token}\n",
            err=True,
        )


def url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/"
