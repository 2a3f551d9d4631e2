"""`sharded-queue pause` and `resume`: withhold requests, and give them out again."""

from collections.abc import Awaitable, Callable

import click

from sharded_queue.commands.naming import Named, module_options, named
from sharded_queue.commands.reading import emit, read
from sharded_queue.printable import printable
from sharded_queue.storages.redis import RedisStorage


def control(name: str, is_paused: bool, done: str, about: str) -> click.Command:
    @click.command(name, help=about)
    @click.argument("handler")
    @click.argument("thread", required=False)
    @module_options
    @click.option("--json", "as_json", is_flag=True, help="The answer as JSON.")
    def command(handler: str, thread: str | None, modules: tuple[str, ...], spread: int | None, as_json: bool) -> None:
        (found,) = named([handler], modules, spread)
        changed = read(switched(found, thread, is_paused))
        what = f"thread {printable(thread)} of {handler}" if thread else handler
        words = f"{what} is {done}" if changed else f"{what} was {done} already"
        emit(as_json, {"handler": handler, "thread": thread, "paused": is_paused, "changed": changed}, words)

    return command


def switched(handler: Named, thread: str | None, is_paused: bool) -> Callable[[RedisStorage], Awaitable[bool]]:
    shards = [handler.shard_of(thread)] if thread else handler.shards

    async def switch(storage: RedisStorage) -> bool:
        return any([await storage.pause(shard, thread, is_paused) for shard in shards])

    return switch


pause = control(
    "pause", True, "paused", "Withhold the requests of a handler, or of one thread. Batches under way are finished."
)
resume = control("resume", False, "running", "Give the requests of a handler, or of one thread, out again.")
