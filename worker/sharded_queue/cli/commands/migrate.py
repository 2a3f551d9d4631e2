"""`sharded-queue migrate`: take over the requests of sharded-queue 0.2."""

import click

from sharded_queue.admin.handlers import handlers_in
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.output import console, read
from sharded_queue.cli.tables import Fitted, name, number, word
from sharded_queue.predecessor import Migration, Moved, Pipe
from sharded_queue.printable import counted, printable


@click.command()
@click.option("--module", "modules", multiple=True, required=True, help="Import this module for its handlers.")
@click.option("--apply", "is_applied", is_flag=True, help="Move the requests; without it, only list them.")
@click.option("--ignore-locks", is_flag=True, help="Also move what a worker of 0.2 holds, or held when it crashed.")
def migrate(modules: tuple[str, ...], is_applied: bool, ignore_locks: bool) -> None:
    """
    Take over the requests that sharded-queue 0.2 left in this Redis under the same prefix; exit 1 if some are left.

    Stop the producers and workers of 0.2 first, and start those of this version once all requests are moved. Each
    request goes to the handler of the same module and name, in the order of its tube; deferred and recurrent requests
    too. The next run resumes one that was interrupted: nothing is lost, and nothing is registered twice.
    """
    handlers = handlers_in(modules, ())

    async def ask(storage: RedisStorage) -> tuple[list[Pipe], list[Moved]]:
        migration = Migration(storage, handlers)
        pipes = await migration.pipes()
        if not is_applied:
            show(pipes, migration)
            return pipes, []
        return pipes, [await carried_out(migration, pipe, ignore_locks) for pipe in pipes]

    pipes, moves = read(ask)
    if not pipes:
        click.echo("sharded-queue 0.2 left nothing here")
    elif not is_applied:
        click.echo("nothing was moved; use --apply to move the requests")
    for move in moves:
        click.echo(f"{printable(move.pipe)}: moved {counted(move.count, 'request')}")
        for reason in move.left:
            click.echo(f"  left: {printable(reason)}")
    if any(move.left for move in moves):
        raise SystemExit(1)


async def carried_out(migration: Migration, pipe: Pipe, ignore_locks: bool) -> Moved:
    if pipe.is_locked and not ignore_locks:
        return Moved(
            pipe.name, left=["a worker of 0.2 holds it, or crashed; stop that worker, then use --ignore-locks"]
        )
    return await migration.move(pipe)


def show(pipes: list[Pipe], migration: Migration) -> None:
    if not pipes:
        return
    columns = [name("tube of 0.2"), number("requests"), word("locked"), name("goes to")]
    console().print(Fitted(columns, [row(pipe, migration) for pipe in pipes]))


def row(pipe: Pipe, migration: Migration) -> list[str]:
    handler = migration.handler_of(pipe.name)
    goal = "each to its handler" if pipe.is_own else handler.name if handler else "no --module defines its handler"
    return [pipe.name, f"{pipe.requests:,}", "yes" if pipe.is_locked else "", goal]
