"""`sharded-queue script`: the text of a Lua script, for producers in other languages."""

import click

from sharded_queue.backends.redis.scripts import source

DOCUMENTED = ("register",)
"""Those whose keys, arguments and answers docs/wire.md describes."""


@click.command()
@click.argument("name", type=click.Choice(DOCUMENTED))
def script(name: str) -> None:
    """
    Print the Lua script that registers requests, for producers in other languages.

    docs/wire.md describes its keys, its arguments and its answers. Redis is not asked.
    """
    click.echo(source(name), nl=False)
